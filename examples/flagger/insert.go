package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// shape is the version of Flagger whose code the insertion knows. Another one is taken if it has the same shape.
const shape = "Flagger v1.44.0"

// routers returns Flagger's pkg/router/factory.go with our factory asked first: before the switch, because Flagger matches skipper there.
func routers(source []byte) ([]byte, error) {
	return insert(source, place{
		method: "MeshRouter",
		fields: []string{"kubeConfig", "kubeClient", "logger", "setOwnerRefs"},
		params: []string{"provider", "labelSelector"},
	}, func(receiver string, method *ast.FuncDecl, _ *ast.SwitchStmt) (token.Pos, string) {
		return method.Body.Lbrace + 1, fmt.Sprintf(`
	if r, ok := penstock.For(%[1]s.kubeConfig, %[1]s.kubeClient, %[1]s.logger, %[1]s.setOwnerRefs).MeshRouter(provider, labelSelector); ok {
		return r
	}
`, receiver)
	}, `penstock "github.com/penstock-dev/penstock/router"`)
}

// observers returns Flagger's pkg/metrics/observers/factory.go with Skipper's queries for dns-weighted. Flagger appends ":service" to the
// provider of a Canary whose target is a Service, so the prefix decides.
func observers(source []byte) ([]byte, error) {
	return insert(source, place{
		method: "Observer",
		fields: []string{"Client"},
		params: []string{"provider"},
	}, func(receiver string, _ *ast.FuncDecl, choice *ast.SwitchStmt) (token.Pos, string) {
		return choice.Body.Lbrace + 1, fmt.Sprintf(`
	case strings.HasPrefix(provider, "dns-weighted"):
		return &SkipperObserver{client: %s.Client}
`, receiver)
	})
}

// place is what the method must look like into which something is inserted.
type place struct {
	method string
	fields []string // of the receiver's struct, in the same file, that the inserted lines need
	params []string // all of them
}

// insert puts text, and the imports that it needs, where at says.
func insert(source []byte, p place,
	at func(receiver string, method *ast.FuncDecl, choice *ast.SwitchStmt) (token.Pos, string), imports ...string,
) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	method, choice, err := p.find(code{fset, source}, file)
	if err != nil {
		return nil, fmt.Errorf("this is not the shape of %s: %w", shape, err)
	}
	pos, text := at(method.Recv.List[0].Names[0].Name, method, choice)
	offset := fset.Position(pos).Offset
	head := fset.Position(file.Name.End()).Offset
	out := slices.Clone(source[:head])
	for _, i := range imports {
		out = append(out, "\n\nimport "+i+"\n"...)
	}
	out = append(out, source[head:offset]...)
	out = append(out, text...)
	out = append(out, source[offset:]...)
	if out, err = format.Source(out); err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	return out, nil
}

// find returns the only method of that name, and the switch that is all of its body and chooses by the provider. Its errors name what was
// expected and what was found: where anything else happens before the switch, or in another method, lines that are inserted into this one
// might never be asked.
func (p place) find(c code, file *ast.File) (*ast.FuncDecl, *ast.SwitchStmt, error) {
	method, err := p.only(c, file)
	if err != nil {
		return nil, nil, err
	}
	has := fieldsOf(file, "Factory")
	for _, field := range p.fields {
		if !slices.Contains(has, field) {
			return nil, nil, fmt.Errorf("want a struct Factory with the field %s, found one with %v", field, has)
		}
	}
	params := names(method.Type.Params)
	if !slices.Equal(params, p.params) {
		return nil, nil, fmt.Errorf("want the parameters %v of %s, found %v", p.params, p.method, params)
	}
	body := method.Body.List
	if len(body) != 1 {
		return nil, nil, fmt.Errorf("want one statement in %s, a switch; found %d: %s", p.method, len(body), lines(c, body))
	}
	choice, ok := body[0].(*ast.SwitchStmt)
	if !ok || choice.Init != nil || choice.Tag != nil {
		return nil, nil, fmt.Errorf("want a switch over conditions in %s, found %s", p.method, lines(c, body))
	}
	var conditions []string
	for _, clause := range choice.Body.List {
		for _, condition := range clause.(*ast.CaseClause).List {
			if isSkipper(condition) {
				return method, choice, nil
			}
			conditions = append(conditions, types.ExprString(condition))
		}
	}
	return nil, nil, fmt.Errorf("want a case provider == flaggerv1.SkipperProvider in the switch of %s, found %q", p.method, conditions)
}

// only returns the method, which nothing else in the file may share its name with.
func (p place) only(c code, file *ast.File) (*ast.FuncDecl, error) {
	var found []*ast.FuncDecl
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == p.method {
			found = append(found, f)
		}
	}
	want := fmt.Sprintf("want one method %s, with a named receiver of type Factory or *Factory", p.method)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s; found no function of that name", want)
	}
	method := found[0]
	if len(found) > 1 || method.Recv == nil || !isFactory(method.Recv) || method.Body == nil {
		return nil, fmt.Errorf("%s; found %s", want, lines(c, found))
	}
	return method, nil
}

// isFactory tells whether a receiver has a name, and is a Factory or a *Factory.
func isFactory(receiver *ast.FieldList) bool {
	if named := names(receiver); len(named) != 1 || named[0] == "_" {
		return false
	}
	kind := receiver.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.Name == "Factory"
}

// isSkipper tells whether a condition is that the provider is skipper.
func isSkipper(condition ast.Expr) bool {
	comparison, ok := condition.(*ast.BinaryExpr)
	if !ok || comparison.Op != token.EQL {
		return false
	}
	left, isName := comparison.X.(*ast.Ident)
	right, isConstant := comparison.Y.(*ast.SelectorExpr)
	return isName && left.Name == "provider" && isConstant && right.Sel.Name == "SkipperProvider"
}

// fieldsOf returns the names of the fields of a struct that the file declares.
func fieldsOf(file *ast.File, name string) []string {
	for _, decl := range file.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok && t.Name.Name == name {
				if s, ok := t.Type.(*ast.StructType); ok {
					return names(s.Fields)
				}
			}
		}
	}
	return nil
}

// names returns those of fields, parameters or a receiver.
func names(list *ast.FieldList) []string {
	var all []string
	for _, field := range list.List {
		for _, name := range field.Names {
			all = append(all, name.Name)
		}
	}
	return all
}

// code shows where something stands in a source.
type code struct {
	fset   *token.FileSet
	source []byte
}

// line quotes the first line of a node.
func (c code) line(node ast.Node) string {
	at := c.fset.Position(node.Pos()).Line
	return fmt.Sprintf("line %d: %s", at, bytes.TrimSpace(bytes.Split(c.source, []byte("\n"))[at-1]))
}

// lines quotes several.
func lines[N ast.Node](c code, nodes []N) string {
	quoted := make([]string, len(nodes))
	for i, node := range nodes {
		quoted[i] = c.line(node)
	}
	return strings.Join(quoted, "; ")
}

// elsewhere returns an error if a file in which nothing is inserted decides something for the provider skipper: what is inserted might not
// be asked there.
func elsewhere(name string, source []byte) error {
	const declaration = "pkg/apis/flagger/v1beta1/provider.go"
	if name == declaration || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
		return nil
	}
	for i, line := range bytes.Split(source, []byte("\n")) {
		for _, word := range []string{"SkipperProvider", `"skipper"`} {
			if bytes.Contains(line, []byte(word)) {
				return fmt.Errorf("this is not the shape of %s: want the provider skipper chosen in the factories of routers and observers only, found line %d: %s",
					shape, i+1, bytes.TrimSpace(line))
			}
		}
	}
	return nil
}
