package clients

import "testing"

func TestParseSections(t *testing.T) {
	secs, err := parseSections("file", "# c\nGET /a\n204\n== two\nas u\n$! cmd x\n> out\nPOST /b {\"a\": 1}\n400 Type some words\n")
	if err != nil || len(secs) != 2 || secs[0].name != "file" || secs[1].name != "two" {
		t.Fatalf("%+v, %v", secs, err)
	}
	s := secs[1].steps[0]
	e := s.exchanges[0]
	if s.command != "cmd x" || !s.fails || s.prints[0] != "out" || e.user != "u" || e.method != "POST" || e.path != "/b" || e.body != `{"a": 1}` ||
		e.status != 400 || e.errorType != "Type" || e.message != "some words" {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"204\n", "GET /a\n", "GET /a\n204\n204\n", "GET /a\nwords\n", "> out\n"} {
		if _, err := parseSections("file", bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestMatch(t *testing.T) {
	const id = "0f0e0d0c-0000-4000-8000-000000000001"
	n := names{"NET": id}
	for _, c := range []struct {
		want, got string
		exact, ok bool
	}{
		{`{"a":1}`, `{"a":1,"b":2}`, false, true},
		{`{"a":1}`, `{"a":1,"b":2}`, true, false},
		{`{"a":1,"b":"<absent>"}`, `{"a":1,"b":2}`, false, false},
		{`{"a":1,"b":"<absent>"}`, `{"a":1}`, false, true},
		{`{"a":"1"}`, `{"a":1}`, false, false},
		{`{"a":null}`, `{}`, false, false},
		{`["<uuid>"]`, `["` + id + `"]`, true, true},
		{`["<uuid>"]`, `["x"]`, true, false},
		{`["..."]`, `[1,2]`, true, true},
		{`[1]`, `[1,2]`, false, false},
		{`["<unordered>",1,2]`, `[2,1]`, false, true},
		{`["<unordered>",1,1]`, `[2,1]`, false, false},
		{`["<unordered>",1]`, `[2,1]`, false, false},
		{`{"a":"$NET"}`, `{"a":"` + id + `"}`, false, true},
		{`{"a":"<NET>"}`, `{"a":"other"}`, false, false},
		{`{"a":"<int>"}`, `{"a":"1"}`, false, false},
		{`{"a":"<int>"}`, `{"a":1}`, false, true},
		{``, `{}`, true, false},
		{`{}`, ``, true, false},
	} {
		if err := n.matchText(c.want, c.got, c.exact, "it"); (err == nil) != c.ok {
			t.Errorf("%s against %s: %v", c.want, c.got, err)
		}
	}
	if err := n.matchText(`{"a":"<NEW>"}`, `{"a":"v"}`, true, "it"); err != nil || n.fill("x$NEW$NET") != "xv"+id {
		t.Errorf("%v: %s", err, n.fill("x$NEW$NET"))
	}
}
