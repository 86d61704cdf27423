package reason

import (
	"regexp"
	"testing"
)

// Each reason has a name of its own that metrics and C can bear, and words.
func TestInfos(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[string]Reason{}
	for r := range Count {
		i := r.Info()
		if !name.MatchString(i.Name) || i.Text == "" {
			t.Errorf("reason %d: name %q, text %q", r, i.Name, i.Text)
		}
		if other, ok := seen[i.Name]; ok {
			t.Errorf("reasons %d and %d are both %s", other, r, i.Name)
		}
		seen[i.Name] = r
		if got, ok := Parse(i.Name); !ok || got != r {
			t.Errorf("Parse(%q) = %d, %v", i.Name, got, ok)
		}
	}
	if _, ok := Parse("nonsense"); ok {
		t.Error("a reason is called nonsense")
	}
	if s := Reason(200).String(); s != "reason_200" {
		t.Errorf("an unknown reason is called %q", s)
	}
}

// The numbers are in pinned maps: these must stay what they are.
func TestNumbersStay(t *testing.T) {
	for r, n := range map[Reason]uint8{PortUnbound: 1, SpoofIP: 8, NoRoute: 21, VTEPUnknown: 29, Internal: 36} {
		if uint8(r) != n {
			t.Errorf("%s is %d, was %d", r, r, n)
		}
	}
}
