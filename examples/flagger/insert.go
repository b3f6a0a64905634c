package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
)

// routers returns Flagger's pkg/router/factory.go with our factory asked first: before the switch, because Flagger matches skipper there.
func routers(source []byte) ([]byte, error) {
	return insert(source, place{
		method:   "MeshRouter",
		receiver: []string{"kubeConfig", "kubeClient", "logger", "setOwnerRefs"},
		params:   []string{"provider", "labelSelector"},
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
		method:   "Observer",
		receiver: []string{"Client"},
		params:   []string{"provider"},
	}, func(receiver string, _ *ast.FuncDecl, choice *ast.SwitchStmt) (token.Pos, string) {
		return choice.Body.Lbrace + 1, fmt.Sprintf(`
	case strings.HasPrefix(provider, "dns-weighted"):
		return &SkipperObserver{client: %s.Client}
`, receiver)
	})
}

// place is what the method must look like into which something is inserted.
type place struct {
	method   string
	receiver []string // fields of the receiver's struct, in the same file
	params   []string
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
	method, choice, err := p.find(file)
	if err != nil {
		return nil, err
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

// find returns the method and the one switch without a tag in it.
func (p place) find(file *ast.File) (*ast.FuncDecl, *ast.SwitchStmt, error) {
	var method *ast.FuncDecl
	fields := map[string]bool{}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && d.Name.Name == p.method {
				method = d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok && t.Name.Name == "Factory" {
					names(t.Type, fields)
				}
			}
		}
	}
	if method == nil || len(method.Recv.List[0].Names) != 1 {
		return nil, nil, fmt.Errorf("there is no method %s of a named receiver", p.method)
	}
	for _, field := range p.receiver {
		if !fields[field] {
			return nil, nil, fmt.Errorf("the struct Factory has no field %s, which the inserted lines need", field)
		}
	}
	params := map[string]bool{}
	for _, field := range method.Type.Params.List {
		for _, name := range field.Names {
			params[name.Name] = true
		}
	}
	for _, param := range p.params {
		if !params[param] {
			return nil, nil, fmt.Errorf("%s has no parameter %s, which the inserted lines need", p.method, param)
		}
	}
	var choices []*ast.SwitchStmt
	for _, statement := range method.Body.List {
		if s, ok := statement.(*ast.SwitchStmt); ok && s.Tag == nil {
			choices = append(choices, s)
		}
	}
	if len(choices) != 1 {
		return nil, nil, fmt.Errorf("%s has %d switches over conditions, want the one that chooses by provider", p.method, len(choices))
	}
	if len(choices[0].Body.List) == 0 {
		return nil, nil, errors.New("the switch of " + p.method + " is empty")
	}
	return method, choices[0], nil
}

// names adds the fields of a struct.
func names(expr ast.Expr, fields map[string]bool) {
	s, ok := expr.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range s.Fields.List {
		for _, name := range field.Names {
			fields[name.Name] = true
		}
	}
}
