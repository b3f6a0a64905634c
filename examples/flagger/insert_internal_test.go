package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	flaggerrouter "github.com/fluxcd/flagger/pkg/router"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/router"
)

// What MeshRouter returns in a fork.
var _ flaggerrouter.Interface = router.Interface(nil)

const routerFactory = `package router

import "strings"

type Factory struct {
	kubeConfig, kubeClient, logger any
	setOwnerRefs bool
}

// MeshRouter returns a service mesh router
func (factory *Factory) MeshRouter(provider string, labelSelector string) Interface {
	switch {
	case strings.HasPrefix(provider, "appmesh"):
		return nil
	case provider == flaggerv1.SkipperProvider:
		return &SkipperRouter{}
	default: // all else
		return nil
	}
}
`

const observerFactory = `package observers

import "strings"

type Factory struct {
	Client any
}

func (f Factory) Observer(provider string) Interface {
	switch {
	case provider == flaggerv1.SkipperProvider:
		return &SkipperObserver{
			client: f.Client,
		}
	default:
		return nil
	}
}
`

func TestInsert(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch  func([]byte) ([]byte, error)
		source string
		want   string
	}{
		"routers": {
			routers, routerFactory,
			`package router

import penstock "github.com/penstock-dev/penstock/router"

import "strings"

type Factory struct {
	kubeConfig, kubeClient, logger any
	setOwnerRefs                   bool
}

// MeshRouter returns a service mesh router
func (factory *Factory) MeshRouter(provider string, labelSelector string) Interface {
	if r, ok := penstock.For(factory.kubeConfig, factory.kubeClient, factory.logger, factory.setOwnerRefs).MeshRouter(provider, labelSelector); ok {
		return r
	}

	switch {
	case strings.HasPrefix(provider, "appmesh"):
		return nil
	case provider == flaggerv1.SkipperProvider:
		return &SkipperRouter{}
	default: // all else
		return nil
	}
}
`,
		},
		"observers": {
			observers, observerFactory,
			`package observers

import "strings"

type Factory struct {
	Client any
}

func (f Factory) Observer(provider string) Interface {
	switch {
	case strings.HasPrefix(provider, "dns-weighted"):
		return &SkipperObserver{client: f.Client}

	case provider == flaggerv1.SkipperProvider:
		return &SkipperObserver{
			client: f.Client,
		}
	default:
		return nil
	}
}
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.patch([]byte(tc.source))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Each shape in which an inserted line might not be asked, or not be Go, is refused with what was expected and what was found.
func TestAnotherShapeIsRefused(t *testing.T) {
	t.Parallel()
	const (
		routerMethod   = "func (factory *Factory) MeshRouter(provider string, labelSelector string) Interface {"
		observerMethod = "func (f Factory) Observer(provider string) Interface {"
	)
	for name, tc := range map[string]struct {
		patch    func([]byte) ([]byte, error)
		old, new string
		want     []string
	}{
		"NoGo":          {routers, "package router", "package", []string{"parse"}},
		"Renamed":       {routers, "MeshRouter(provider", "RouterOf(provider", []string{"want one method MeshRouter", "found no function"}},
		"NoReceiver":    {routers, "(factory *Factory)", "(*Factory)", []string{"named receiver", "found line 11: func (*Factory) MeshRouter("}},
		"BlankReceiver": {routers, "(factory *Factory)", "(_ *Factory)", []string{"named receiver", "func (_ *Factory)"}},
		"OtherReceiver": {routers, "(factory *Factory)", "(factory *Mesh)", []string{"*Factory", "func (factory *Mesh)"}},
		"Function":      {routers, "(factory *Factory) MeshRouter(", "MeshRouter(", []string{"want one method MeshRouter", "found line 11: func MeshRouter("}},
		"SecondMethod": {
			routers, "// MeshRouter returns",
			"func (m *Mesh) MeshRouter(provider string, labelSelector string) Interface { return nil }\n\n// MeshRouter returns",
			[]string{"want one method MeshRouter", "line 10: func (m *Mesh) MeshRouter(", "line 13: func (factory *Factory) MeshRouter("},
		},
		"SecondMethodBehind": {
			routers, "default: // all else\n\t\treturn nil\n\t}\n}\n",
			"default: // all else\n\t\treturn nil\n\t}\n}\nfunc (m Mesh) MeshRouter(provider, labelSelector string) Interface {\n\tswitch {\n\tcase true:\n\t}\n}\n",
			[]string{"want one method MeshRouter", "func (factory *Factory) MeshRouter(", "func (m Mesh) MeshRouter("},
		},
		"NoBody":     {routers, routerMethod + "\n\tswitch {", routerMethod[:len(routerMethod)-1] + "\n\nfunc other() {\n\tswitch {", []string{"found line 11: func (factory *Factory)"}},
		"OtherField": {routers, "kubeConfig, ", "", []string{"want a struct Factory with the field kubeConfig", "found one with [kubeClient logger setOwnerRefs]"}},
		"OtherParam": {routers, "labelSelector string", "labels string", []string{"want the parameters [provider labelSelector]", "found [provider labels]"}},
		"MoreParams": {routers, "labelSelector string", "labelSelector string, kind string", []string{"found [provider labelSelector kind]"}},
		"Tagged":     {routers, "switch {", "switch provider {", []string{"want a switch over conditions", "found line 12: switch provider {"}},
		"WithInit":   {routers, "switch {", "switch p := provider; {", []string{"want a switch over conditions", "found line 12: switch p := provider; {"}},
		"CodeBefore": {
			routers, "switch {", "if provider == factory.own {\n\t\treturn nil\n\t}\n\tswitch {",
			[]string{"want one statement in MeshRouter", "found 2: line 12: if provider == factory.own {; line 15: switch {"},
		},
		"ProviderChanged": {routers, "switch {", "provider = strings.ToLower(provider)\n\tswitch {", []string{"found 2: line 12: provider = strings.ToLower(provider)"}},
		"CodeBehind":      {routers, "\t\treturn nil\n\t}\n}\n", "\t}\n\treturn nil\n}\n", []string{"found 2: line 12: switch {; line 19: return nil"}},
		"TwoSwitches":     {routers, "switch {", "switch {\n\tcase true:\n\t}\n\tswitch {", []string{"found 2"}},
		"ChosenElsewhere": {
			routers, routerMethod, routerMethod + "\n\treturn factory.choose(provider)\n}\n\nfunc (factory *Factory) choose(provider string) Interface {",
			[]string{"want a switch over conditions", "found line 12: return factory.choose(provider)"},
		},
		"Empty":       {routers, "switch {", "switch {\n\t}\n}\n\nfunc other() {\n\tswitch {", []string{"want a case provider == flaggerv1.SkipperProvider", "found []"}},
		"WithoutCase": {routers, "flaggerv1.SkipperProvider", "flaggerv1.TraefikProvider", []string{"want a case provider == flaggerv1.SkipperProvider", `"provider == flaggerv1.TraefikProvider"`}},
		"OtherChoice": {routers, "provider == flaggerv1.SkipperProvider", "kind == flaggerv1.SkipperProvider", []string{`"kind == flaggerv1.SkipperProvider"`}},
		"Negated":     {routers, "provider == flaggerv1.SkipperProvider", "provider != flaggerv1.SkipperProvider", []string{`"provider != flaggerv1.SkipperProvider"`}},

		"ObserverSecondMethod": {
			observers, observerMethod, "func (m *Mesh) Observer(provider string) Interface { return nil }\n\n" + observerMethod,
			[]string{"want one method Observer", "line 9: func (m *Mesh) Observer(", "line 11: func (f Factory) Observer("},
		},
		"ObserverOtherReceiver": {observers, "(f Factory)", "(f Mesh)", []string{"want one method Observer", "func (f Mesh) Observer("}},
		"ObserverOtherField":    {observers, "Client any", "client any", []string{"want a struct Factory with the field Client", "found one with [client]"}},
		"ObserverCodeBefore":    {observers, "switch {", "return f.choose(provider)\n\tswitch {", []string{"found 2: line 10: return f.choose(provider); line 11: switch {"}},
		"ObserverTagged":        {observers, "switch {", "switch provider {", []string{"found line 10: switch provider {"}},
		"ObserverWithoutCase":   {observers, "flaggerv1.SkipperProvider", "flaggerv1.KumaProvider", []string{"want a case provider == flaggerv1.SkipperProvider in the switch of Observer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := routerFactory
			if strings.HasPrefix(name, "Observer") {
				source = observerFactory
			}
			if !strings.Contains(source, tc.old) {
				t.Fatalf("the source has no %q", tc.old)
			}
			out, err := tc.patch([]byte(strings.Replace(source, tc.old, tc.new, 1)))
			if err == nil {
				t.Fatalf("no error; the result is\n%s", out)
			}
			if name != "NoGo" {
				tc.want = append(tc.want, "not the shape of "+shape)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// The version that errors name is the one that is built.
func TestTheShapeIsOfTheVersionThatIsBuilt(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if shape != "Flagger "+flagger.Version {
		t.Errorf("the shape is said to be that of %s, and Flagger %s is built", shape, flagger.Version)
	}
}

func TestForkOfTheModule(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "src")
	for range 2 { // the second time nothing is written
		if err := flagger.fork(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"pkg/router/factory.go":            "penstock.For(",
		"pkg/metrics/observers/factory.go": `"dns-weighted"`,
		"cmd/flagger/main.go":              "func main()",
	} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.Count(string(content), want) != 1 {
			t.Errorf("%s (%v) has not %q once", name, err, want)
		}
	}
	// What another version left is removed, and what somebody changed is made good.
	if err := os.WriteFile(filepath.Join(dir, "pkg", "router", "old.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := flagger.fork(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pkg", "router", "old.go")); !os.IsNotExist(err) {
		t.Errorf("pkg/router/old.go: %v, want it gone", err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || !strings.HasPrefix(string(content), "module "+upstream) {
		t.Errorf("go.mod is %q (%v)", content, err)
	}
}

// moduleOf returns a module with these files beside those that each has.
func moduleOf(t *testing.T, files map[string]string) module {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for _, name := range []string{"go.mod", "cmd/flagger/main.go"} {
		if err := keep(root, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := keep(root, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	return module{Dir: dir}
}

func TestAModuleWithoutTheFactory(t *testing.T) {
	t.Parallel()
	err := moduleOf(t, map[string]string{"pkg/router/factory.go": routerFactory}).fork(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "pkg/metrics/observers/factory.go") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

// Where another file decides something for skipper, the lines in the factories might not be asked.
func TestAModuleThatChoosesElsewhere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file, content string
		refused       bool
	}{
		"Constant":    {"pkg/controller/controller.go", "package controller\n\n\tif p == flaggerv1.SkipperProvider {\n", true},
		"Literal":     {"cmd/flagger/main.go", "package main\n\n\tif meshProvider == \"skipper\" {\n", true},
		"Declaration": {"pkg/apis/flagger/v1beta1/provider.go", "package v1beta1\n\nconst SkipperProvider = \"skipper\"\n", false},
		"Test":        {"pkg/controller/controller_test.go", "package controller\n\nvar p = flaggerv1.SkipperProvider\n", false},
		"NoGo":        {"pkg/controller/README.md", "SkipperProvider", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := moduleOf(t, map[string]string{
				"pkg/router/factory.go": routerFactory, "pkg/metrics/observers/factory.go": observerFactory, tc.file: tc.content,
			}).fork(t.TempDir())
			if !tc.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.file) || !strings.Contains(err.Error(), "found line 3: if ") {
				t.Errorf("error %v, want one that names %s and quotes the line", err, tc.file)
			}
		})
	}
}
