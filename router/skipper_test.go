package router_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/router"
)

func newSkipper(t *testing.T, kube *fake.Clientset, opts router.SkipperOptions) *router.Skipper {
	t.Helper()
	if opts.Clock == nil {
		opts.Clock = newClock()
	}
	return router.NewSkipper(t.Context(), kube, nil, opts)
}

func TestSkipperSmoke(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	s := newSkipper(t, kube, router.SkipperOptions{})
	c := newCanary()
	if err := s.Reconcile(c); err != nil {
		t.Fatal(err)
	}
	requests(kube)
	if err := s.Reconcile(c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"get": 2}, requests(kube)); diff != "" {
		t.Error(diff)
	}
	if err := s.SetRoutes(c, 90, 10, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"get": 1, "update": 1}, requests(kube)); diff != "" {
		t.Error(diff)
	}
	p, w, m, err := s.GetRoutes(c)
	t.Log(p, w, m, err, getIngress(t, kube, "web-canary").Annotations)
	if err := s.Finalize(c); err != nil {
		t.Fatal(err)
	}
	t.Log(ingressNames(t, kube))
}
