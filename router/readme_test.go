package router_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/router"
)

var updateReadme = flag.Bool("update", false, "rewrite the table of variables in README.md")

// The table of environment variables in README is that of the code.
func TestReadmeListsTheVariables(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../README.md", "<!-- variables -->\n", "<!-- /variables -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no %q ... %q", file, begin, end)
	}
	var want strings.Builder
	want.WriteString("\n| variable | default | meaning |\n|---|---|---|\n") // a table ends where a comment stands
	for _, v := range router.Variables() {
		preset := "none"
		if v.Default != "" {
			preset = "`" + v.Default + "`"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", v.Name, preset, v.Meaning)
	}
	want.WriteString("\n")
	if *updateReadme {
		if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("%s -want +got:\n%s\nrun go test ./router -run Readme -update", file, diff)
	}
}
