package router

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePredicates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		text   string
		want   []string
	}{
		"Empty":            {reason: "No annotation means no predicates.", text: "  ", want: nil},
		"CommentOnly":      {reason: "Skipper takes a comment for nothing.", text: "// later", want: nil},
		"One":              {reason: "One predicate has no separator.", text: ` Path("/") `, want: []string{`Path("/")`}},
		"NoSpace":          {reason: "Space around && is optional.", text: `True()&&False()`, want: []string{"True()", "False()"}},
		"AndInString":      {reason: "&& inside a string is text.", text: `Header("X", "a&&b") && True()`, want: []string{`Header("X", "a&&b")`, "True()"}},
		"AndInBackticks":   {reason: "Backticks quote too.", text: "Header(`X`, `a&&\"b`) && True()", want: []string{"Header(`X`, `a&&\"b`)", "True()"}},
		"EscapedQuote":     {reason: "An escaped quote does not end a string.", text: `Header("X", "a\" && b") && True()`, want: []string{`Header("X", "a\" && b")`, "True()"}},
		"EscapedBackslash": {reason: "A backslash that is escaped escapes nothing.", text: `Header("X", "a\\") && True()`, want: []string{`Header("X", "a\\")`, "True()"}},
		"AndInRegexp":      {reason: "&& inside a regular expression is part of it.", text: `Path(/a&&b/) && True()`, want: []string{`Path(/a&&b/)`, "True()"}},
		"SlashInBrackets":  {reason: "Between brackets a slash does not end a regular expression.", text: `Host(/[/]&&/) && True()`, want: []string{`Host(/[/]&&/)`, "True()"}},
		"EscapedSlash":     {reason: "An escaped slash does not end a regular expression.", text: `Host(/\/&&/) && True()`, want: []string{`Host(/\/&&/)`, "True()"}},
		"ParenInString":    {reason: "Parentheses inside strings and regular expressions do not nest.", text: `Cookie("a", ")(") && Host(/(a|(b))/)`, want: []string{`Cookie("a", ")(")`, `Host(/(a|(b))/)`}},
		"Numbers":          {reason: "Numbers have digits and one point.", text: `Traffic(.1, "a", "b") && Weight(3)`, want: []string{`Traffic(.1, "a", "b")`, "Weight(3)"}},
		"Any":              {reason: "The asterisk is a predicate.", text: `*`, want: []string{"*"}},
		"Comment":          {reason: "A comment inside must not swallow what is joined to the text.", text: "Path(\"/\" // root\n) && True() // end", want: []string{`Path("/")`, "True()"}},
		"Host":             {reason: "As in Flagger's own test of its splitting.", text: `Host(/^my-host-header\.example\.org$/) && Method("GET") && Path("/hello")`, want: []string{`Host(/^my-host-header\.example\.org$/)`, `Method("GET")`, `Path("/hello")`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parsePredicates(tc.text)
			if err != nil {
				t.Fatalf("%s\nparsePredicates(%q): %v", tc.reason, tc.text, err)
			}
			if diff := cmp.Diff(tc.want, texts(got)); diff != "" {
				t.Errorf("%s\nparsePredicates(%q) -want +got:\n%s", tc.reason, tc.text, diff)
			}
		})
	}
}

func TestParsePredicatesRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"OpenString":  `Header("X", "a)`,
		"OpenRegexp":  `Host(/a)`,
		"OpenParen":   `Path("/"`,
		"OneAmp":      `True() & True()`,
		"NoOperand":   `True() &&`,
		"NoSeparator": `True() True()`,
		"NoParens":    `True`,
		"NestedCall":  `Not(True())`,
		"Trailing":    `True());`,
		"Number":      `Weight(1.)`,
		"Sign":        `Weight(-1)`,
		"NoComma":     `Header("X" "Y")`,
		"Arrow":       `True() -> status(200)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := parsePredicates(text); !errors.Is(err, errEskip) {
				t.Errorf("parsePredicates(%q) = %v, %v; Skipper would ignore it and serve as if it were not there", text, texts(got), err)
			}
		})
	}
}

func TestParseFiltersKeepsArrowsInStrings(t *testing.T) {
	t.Parallel()
	got, err := parseFilters(`status(200) -> inlineContent("a -> b")`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"status(200)", `inlineContent("a -> b")`}, texts(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRouteWeightCountsAsSkipperDoes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"":                                    0,
		"True()":                              1,
		"*":                                   0,
		"Weight(100)":                         100,
		`Weight(2) && Header("a", "b")`:       3,
		`Path("/a") && Method("GET")`:         1, // the path chooses the node of the tree
		`PathRegexp(/a/) && Traffic(.5)`:      2,
		`TrafficSegment(0, 0.5) && Weight(1)`: 1,
	} {
		predicates, err := parsePredicates(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := routeWeight(predicates); got != want {
			t.Errorf("routeWeight(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestRaiseRoutes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, document, want string
	}{
		"Named":     {"An id stays in front.", `cors: Method("OPTIONS") -> <shunt>;`, `cors: Weight(7) && Method("OPTIONS") -> <shunt>;`},
		"Unnamed":   {"A single route needs no id.", `Method("OPTIONS") -> "https://example.com"`, `Weight(7) && Method("OPTIONS") -> "https://example.com"`},
		"Two":       {"Each route is raised.", "a: True() -> <shunt>;\nb: Path(\"/;\") -> status(200) -> <shunt>;", "a: Weight(7) && True() -> <shunt>;\nb: Weight(7) && Path(\"/;\") -> status(200) -> <shunt>;"},
		"Backends":  {"Load balanced backends are skipped.", `a: * -> <roundRobin, "http://192.0.2.1", "http://192.0.2.2">`, `a: Weight(7) && * -> <roundRobin, "http://192.0.2.1", "http://192.0.2.2">`},
		"Semicolon": {"Empty statements are allowed.", `;;`, `;;`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := raiseRoutes(tc.document, 7, func(route) bool { return true })
			if err != nil || got != tc.want {
				t.Errorf("%s\nraiseRoutes(%q) = %q, %v; want %q", tc.reason, tc.document, got, err, tc.want)
			}
		})
	}
	for _, bad := range []string{`a: True()`, `a: -> <shunt>`, `a: True() -> "open`} {
		if got, err := raiseRoutes(bad, 7, func(route) bool { return true }); err == nil {
			t.Errorf("raiseRoutes(%q) = %q, want an error", bad, got)
		}
	}
}

func TestQuoteIsReadBackByTheLexer(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", `a"b`, `a\b`, `\"`, "a\nb\tc\r", `^(?:a\.b)$`, "a&&b", "ä"} {
		l := lexer{text: quote(s)}
		l.next()
		if l.err != nil || l.end != len(l.text) {
			t.Errorf("quote(%q) = %s: not one token (%v)", s, quote(s), l.err)
		}
	}
}

func FuzzParsePredicates(f *testing.F) {
	for _, seed := range []string{
		`Host(/^my-host-header\.example\.org$/) && Method("GET") && Path("/hello")&&False()`,
		`Header("X", "a&&b") && Cookie("c", /a&&[/]b/)`, "Header(`a\\``, \"\\\\\") // x", `Weight(100) && * && Traffic(.1)`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		predicates, err := parsePredicates(text)
		if err != nil {
			return
		}
		joined := joinPredicates(append([]string{"Weight(1)"}, texts(predicates)...)...)
		again, err := parsePredicates(joined)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, joined, err)
		}
		if diff := cmp.Diff(texts(predicates), texts(again[1:])); diff != "" {
			t.Errorf("%q became %q: -before +after:\n%s", text, joined, diff)
		}
		if got, want := routeWeight(again), routeWeight(predicates)+1; got != want {
			t.Errorf("%q weighs %d, want %d", joined, got, want)
		}
	})
}

func FuzzQuote(f *testing.F) {
	for _, seed := range []string{`a"b`, `\`, "a\nb", "^(?:x)$"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		predicates, err := parsePredicates(call("Cookie", s, s) + " && True()")
		if err != nil || len(predicates) != 2 || strings.Join(predicates[0].args, "") != quote(s)+quote(s) {
			t.Errorf("quote(%q) = %s: %v, %v", s, quote(s), texts(predicates), err)
		}
	})
}

func FuzzRaiseRoutes(f *testing.F) {
	f.Add(`cors: Method("OPTIONS") -> <shunt>; b: * -> status(200) -> "https://example.com";`)
	f.Fuzz(func(t *testing.T, document string) {
		raised, err := raiseRoutes(document, 3, func(route) bool { return true })
		if err != nil {
			return
		}
		before, _ := parseRoutes(document)
		after, err := parseRoutes(raised)
		if err != nil || len(after) != len(before) {
			t.Fatalf("%q became %q: %v", document, raised, err)
		}
		for i := range after {
			if routeWeight(after[i].predicates) != routeWeight(before[i].predicates)+3 {
				t.Errorf("%q became %q", document, raised)
			}
		}
	})
}
