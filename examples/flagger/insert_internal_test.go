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
	case provider == "skipper":
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

	case provider == "skipper":
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

func TestAnotherShapeIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ old, new, want string }{
		"NoGo":        {"package router", "package", "parse"},
		"Renamed":     {"MeshRouter(provider", "RouterOf(provider", "no method MeshRouter"},
		"NoReceiver":  {"(factory *Factory)", "(*Factory)", "named receiver"},
		"OtherField":  {"kubeConfig, ", "", "no field kubeConfig"},
		"OtherParam":  {"labelSelector string", "labels string", "no parameter labelSelector"},
		"Tagged":      {"switch {", "switch provider {", "0 switches"},
		"TwoSwitches": {"switch {", "switch {\n\tcase true:\n\t}\n\tswitch {", "2 switches"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(routerFactory, tc.old) {
				t.Fatalf("the source has no %q", tc.old)
			}
			out, err := routers([]byte(strings.Replace(routerFactory, tc.old, tc.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q; the result is\n%s", err, tc.want, out)
			}
		})
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

func TestAModuleWithoutTheFactory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for _, name := range []string{"go.mod", "cmd/flagger/main.go", "pkg/router/factory.go"} {
		content := ""
		if name == "pkg/router/factory.go" {
			content = routerFactory
		}
		if err := keep(root, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	err = module{Dir: dir}.fork(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "pkg/metrics/observers/factory.go") {
		t.Errorf("error %v, want one that names the file", err)
	}
}
