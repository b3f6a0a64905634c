package router_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The table of events in the page for operators has each reason that the code gives, and no other.
func TestThePageListsTheEvents(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/dns-weighted.md", "<!-- events -->\n", "<!-- /events -->"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), begin)
	table, _, closed := strings.Cut(table, end)
	if !found || !closed {
		t.Fatalf("%s has no %q ... %q", file, begin, end)
	}
	var listed []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if reason, isReason := strings.CutPrefix(strings.TrimSpace(cells[0]), "`"); isReason {
			listed = append(listed, strings.TrimSuffix(reason, "`"))
			if len(cells) != 4 || slices.Contains(cells, "") {
				t.Errorf("%s: the row of %s has not the four cells reason, type, when and what to do: %q", file, listed[len(listed)-1], cells)
			}
		}
	}
	reasons := reasonsInCode(t)
	if len(reasons) < 9 {
		t.Fatalf("reasons %v in the code, want all", reasons)
	}
	slices.Sort(listed)
	if diff := cmp.Diff(reasons, listed); diff != "" {
		t.Errorf("%s -code +page:\n%s", file, diff)
	}
	skipper, err := os.ReadFile("../docs/skipper.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons {
		if strings.HasPrefix(reason, "Skipper") && !strings.Contains(string(skipper), "`"+reason+"`") {
			t.Errorf("../docs/skipper.md does not say when %s is logged", reason)
		}
	}
}

// The page of provider skipper, which has no events, names all that its router logs.
func TestThePageListsTheLog(t *testing.T) {
	t.Parallel()
	const file = "../docs/skipper.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	eachCall(t, "skipper*.go", func(function string, args []ast.Expr) {
		if slices.Contains([]string{"Debugw", "Infow", "Warnw", "Errorw"}, function) {
			messages++
			if message := literalOf(t, args[0]); message == "" || !strings.Contains(string(page), "`"+message+"`") {
				t.Errorf("%s does not name the log message %q", file, message)
			}
		}
	})
	if messages < 8 {
		t.Errorf("%d messages in the code, want all", messages)
	}
}

// reasonsInCode returns the constants of type Reason, and the strings with which something called warn is called, sorted.
func reasonsInCode(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	keep := func(expr ast.Expr) {
		if reason := literalOf(t, expr); reason != "" {
			found[reason] = true
		}
	}
	eachCall(t, "*.go", func(function string, args []ast.Expr) {
		switch {
		case strings.EqualFold(function, "warn") && len(args) == 3:
			keep(args[1])
		case function == "Reason" && len(args) == 1: // a conversion
			keep(args[0])
		}
	})
	eachNode(t, "*.go", func(node ast.Node) {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
			for _, value := range spec.Values {
				keep(value)
			}
		}
	})
	return slices.Sorted(maps.Keys(found))
}

// literalOf returns what a string literal says; nothing of another expression.
func literalOf(t *testing.T, expr ast.Expr) string {
	t.Helper()
	literal, ok := expr.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eachCall visits the calls in the files that match, but for tests: the last part of the function's name, and the arguments.
func eachCall(t *testing.T, pattern string, visit func(function string, args []ast.Expr)) {
	t.Helper()
	eachNode(t, pattern, func(node ast.Node) {
		if call, ok := node.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				visit(f.Sel.Name, call.Args)
			case *ast.Ident:
				visit(f.Name, call.Args)
			}
		}
	})
}

func eachNode(t *testing.T, pattern string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			visit(node)
			return true
		})
	}
}
