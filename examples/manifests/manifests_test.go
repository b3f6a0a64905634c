// Package manifests_test decodes every manifest of this directory strictly into the type it is of, and lets the router read those
// that are for it.
package manifests_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

// object is anything that a manifest may hold.
type object interface{ metav1.Object }

// kinds maps "apiVersion kind" to a new object of it.
var kinds = map[string]func() object{
	"flagger.app/v1beta1 Canary":                      func() object { return &flaggerv1.Canary{} },
	"flagger.app/v1beta1 MetricTemplate":              func() object { return &flaggerv1.MetricTemplate{} },
	"networking.k8s.io/v1 Ingress":                    func() object { return &networkingv1.Ingress{} },
	"networking.k8s.io/v1 NetworkPolicy":              func() object { return &networkingv1.NetworkPolicy{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":        func() object { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() object { return &rbacv1.ClusterRoleBinding{} },
	"v1 ConfigMap":       func() object { return &corev1.ConfigMap{} },
	"apps/v1 Deployment": func() object { return &appsv1.Deployment{} },
}

// read returns the objects of a file.
func read(t *testing.T, path string) []object {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		build, ok := kinds[meta.APIVersion+" "+meta.Kind]
		if !ok {
			t.Fatalf("%s: kind %q of %q is none that is known here", path, meta.Kind, meta.APIVersion)
		}
		o := build()
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			t.Fatalf("%s: %s: %v", path, meta.Kind, err)
		}
		objects = append(objects, o)
	}
}

func TestManifestsAreStrictlyValid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("manifests %v, %v; want them all", files, err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			objects := read(t, file)
			if len(objects) == 0 {
				t.Error("no object in it")
			}
			for _, o := range objects {
				if o.GetName() == "" {
					t.Errorf("%T without a name", o)
				}
			}
		})
	}
}

// TestIngressesOfCanaries checks that each Canary stands beside the Ingresses that it names, and that the apex Ingress serves its Service.
func TestIngressesOfCanaries(t *testing.T) {
	t.Parallel()
	for file, canary := range canaries(t) {
		var ingresses []string
		for _, o := range read(t, file) {
			if ingress, ok := o.(*networkingv1.Ingress); ok {
				if ingress.Namespace != canary.Namespace {
					t.Errorf("%s: ingress %s is in namespace %q, its canary in %q", file, ingress.Name, ingress.Namespace, canary.Namespace)
				}
				ingresses = append(ingresses, ingress.Name)
			}
		}
		wanted := []string{canary.Spec.IngressRef.Name}
		if prepared := canary.Annotations[router.CanaryIngressAnnotation]; prepared != "" {
			wanted = append(wanted, prepared)
		}
		if !slices.Equal(ingresses, wanted) {
			t.Errorf("%s: ingresses %v, want %v", file, ingresses, wanted)
		}
	}
}

// TestVariablesAreKnown finds misspelt environment variables, which nobody would read.
func TestVariablesAreKnown(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, v := range router.Variables() {
		known[v.Name] = true
	}
	for _, file := range []string{"configuration.yaml", "configuration-route53.yaml", "configuration-controller.yaml"} {
		for _, o := range read(t, file) {
			cm, ok := o.(*corev1.ConfigMap)
			if !ok {
				continue
			}
			if len(cm.Data) == 0 {
				t.Errorf("%s: no variable in it", file)
			}
			for name := range cm.Data {
				if !known[name] {
					t.Errorf("%s: variable %s is none that the routers read", file, name)
				}
			}
		}
	}
}

// TestSkipperRouterTakesThem lets the router for provider skipper reconcile and shift the Canaries that are meant for it.
func TestSkipperRouterTakesThem(t *testing.T) {
	t.Parallel()
	for file, canary := range canaries(t) {
		if canary.Spec.Provider != "skipper" {
			continue
		}
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			var apex runtime.Object
			for _, o := range read(t, "skipper.yaml") {
				if ingress, ok := o.(*networkingv1.Ingress); ok {
					apex = ingress
				}
			}
			r := router.NewSkipper(t.Context(), fake.NewClientset(apex), nil, router.SkipperOptions{Clock: vclock.New(epoch)})
			if err := r.Reconcile(canary); err != nil {
				t.Fatalf("Reconcile: %v", err)
			}
			if err := r.SetRoutes(canary, 90, 10, false); err != nil {
				t.Fatalf("SetRoutes: %v", err)
			}
			primary, weight, _, err := r.GetRoutes(canary)
			if err != nil || primary != 90 || weight != 10 {
				t.Errorf("GetRoutes = %d, %d, %v; want 90 and 10", primary, weight, err)
			}
		})
	}
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// canaries returns the Canary of each file that has one.
func canaries(t *testing.T) map[string]*flaggerv1.Canary {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*flaggerv1.Canary{}
	for _, file := range files {
		for _, o := range read(t, file) {
			if canary, ok := o.(*flaggerv1.Canary); ok {
				canary.Status.Phase = flaggerv1.CanaryPhaseInitializing
				found[file] = canary
			}
		}
	}
	return found
}
