package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// The formats of what is no list of resources: text for people, or data.
const (
	FormatTable = "table"
	FormatJSON  = "json"
	FormatYAML  = "yaml"
)

// ReportFormats are the values of -f where text is written for people and nothing is a
// column.
func ReportFormats() []string { return []string{FormatTable, FormatJSON, FormatYAML} }

// Data writes v as one document of JSON or YAML. The names are those of its JSON.
func Data(w io.Writer, format string, v any) error {
	switch format {
	case FormatJSON:
		return writeJSON(w, v)
	case FormatYAML:
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		// JSON is YAML; what differs is the style.
		var n yaml.Node
		if err := yaml.Unmarshal(escapeData(b, true), &n); err != nil {
			return fmt.Errorf("write as yaml: %w", err)
		}
		blockStyle(&n)
		return writeYAML(w, &n)
	}
	return fmt.Errorf("%q is no format of data", format)
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}
