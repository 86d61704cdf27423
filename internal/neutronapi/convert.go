package neutronapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
)

// maxText is the longest name, description, owner and the like.
const maxText = 255

// text writes a value into an error message the way Python's %s does for the
// values that matter.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return clip(v)
	case json.Number:
		return clip(v.String())
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%T", v)
	}
	return clip(string(b))
}

// clip keeps error messages short.
func clip(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "..."
}

func toBool(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
	case json.Number:
		switch v.String() {
		case "1":
			return true, nil
		case "0":
			return false, nil
		}
	}
	return false, model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: '%s' cannot be converted to boolean.", text(v))
}

func toInt(v any) (int64, error) {
	s, ok := v.(string)
	if n, isNumber := v.(json.Number); isNumber {
		s, ok = n.String(), true
	}
	if ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, reasonf("'%s' is not an integer", text(v))
}

func toString(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", reasonf("'%s' is not a valid string", text(v))
	}
	if utf8.RuneCountInString(s) > maxText {
		return "", reasonf("'%s' exceeds maximum length of %d", text(s), maxText)
	}
	return s, nil
}

// hasText tells whether s is more than spaces.
func hasText(s string) bool { return strings.TrimSpace(s) != "" }

// isUUID tells whether s is a UUID as this site writes them.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// toUUID reads the id of a resource.
func toUUID(v any) (string, error) {
	s, ok := v.(string)
	if !ok || !isUUID(s) {
		return "", reasonf("'%s' is not a valid UUID", text(v))
	}
	return strings.ToLower(s), nil
}

func toAddr(v any) (netip.Addr, error) {
	s, _ := v.(string)
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, reasonf("'%s' is not a valid IP address", text(v))
	}
	return a, nil
}

// toPrefix reads a subnet's range; it must not have bits beyond its length.
func toPrefix(v any) (netip.Prefix, error) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, reasonf("'%s' is not a valid IP subnet", text(v))
	}
	if p != p.Masked() {
		return netip.Prefix{}, reasonf("'%s' isn't a recognized IP subnet cidr, '%s' is recommended", text(v), p.Masked())
	}
	return p, nil
}

func toMAC(v any) (model.NamedMAC, error) {
	s, _ := v.(string)
	m, err := model.ParseNamedMAC(s)
	if err != nil || m.IsZero() {
		return model.NamedMAC{}, reasonf("'%s' is not a valid MAC address", text(v))
	}
	return m, nil
}

func toList(v any) ([]any, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, reasonf("'%s' is not a list", text(v))
	}
	return l, nil
}

func toDict(v any) (map[string]any, error) {
	d, ok := v.(map[string]any)
	if !ok {
		return nil, reasonf("'%s' is not a dictionary", text(v))
	}
	return d, nil
}

// only refuses keys of a dictionary that are not known.
func only(d map[string]any, known ...string) error {
	var unknown []string
	for k := range d {
		if !slices.Contains(known, k) {
			unknown = append(unknown, k)
		}
	}
	if len(unknown) > 0 {
		// The same of several, so that the same request always reads the same.
		return reasonf("Unexpected keys supplied: %s", clip(slices.Min(unknown)))
	}
	return nil
}
