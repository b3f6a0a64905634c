package traffic

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// owned says which Ingresses have records, once it can be asked.
type owned struct {
	names []types.NamespacedName
	fails int
}

func (o *owned) Ingresses(context.Context, string) ([]types.NamespacedName, error) {
	if o.fails--; o.fails >= 0 {
		return nil, errors.New("route 53 is away")
	}
	return o.names, nil
}

// An Ingress that went while nobody led leaves records behind, which the next leader withdraws.
func TestRecordsOfAnIngressThatWentMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(time.Minute)
	gone := app("one")[0]
	if err := r.kube.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.run(time.Minute)
	if len(r.published("one")) == 0 {
		t.Fatal("the records went without anybody who found them")
	}
	r.owner = &owned{names: []types.NamespacedName{client.ObjectKeyFromObject(gone)}, fails: 1}
	if err := r.lookAround(t.Context()); err == nil || !strings.Contains(err.Error(), "cluster east") {
		t.Errorf("error %v", err)
	}
	if err := r.lookAround(t.Context()); err != nil {
		t.Error(err)
	}
	r.run(time.Minute)
	if got := r.published("one", "two"); len(got) != 1 || got["two.example.com"] != 100 {
		t.Errorf("published %v", got)
	}
}

// After a change of the flags nobody knows whose the records are of an Ingress that is left out. They stay, and people are told which these are; where the
// cluster has no other publisher, they are withdrawn.
func TestRecordsOfAnIngressThatTheFlagsLeaveOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		flags  []string
		want   map[string]int
		kept   float64
	}{
		"Filter": {"Another publisher may have the other annotation.", []string{"-annotation-filter", "team=other"}, map[string]int{"one.example.com": 100}, 1},
		"Domain": {"Another publisher may have the other domain.", []string{"-binding-domain", "example.org"}, map[string]int{"one.example.com": 100}, 1},
		"Sole":   {"Nobody else has written them.", []string{"-annotation-filter", "team=other", "-sole-publisher"}, map[string]int{}, 0},
		"Mine":   {"It is not left out.", []string{"-binding-domain", "example.com"}, map[string]int{"one.example.com": 100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := app("one", "one.example.com")
			r := newRig(t, nil, objects...)
			r.run(time.Minute)
			r.restart(tc.flags...)
			r.owner = &owned{names: []types.NamespacedName{client.ObjectKeyFromObject(objects[0])}}
			core, logs := observer.New(zap.InfoLevel)
			r.log = zap.New(core).Sugar()
			for range 3 {
				if err := r.lookAround(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.run(10 * time.Minute)
			}
			if diff := cmp.Diff(tc.want, r.published("one")); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			if got := valueOf(t, r.metrics.kept); got != tc.kept {
				t.Errorf("%s\n%v ingresses are counted, want %v", tc.reason, got, tc.kept)
			}
			told := logs.FilterMessage("records stay").All()
			if float64(len(told)) != tc.kept {
				t.Fatalf("%s\ntold %v", tc.reason, told)
			}
			for _, entry := range told {
				if names := entry.ContextMap()["ingresses"]; !cmp.Equal(names, []any{"shop/one (one.example.com)"}) {
					t.Errorf("%s\ntold of %v", tc.reason, names)
				}
			}
		})
	}
}

func valueOf(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

// A DNSEndpoint is a cluster's if it has our label and the cluster's annotation.
func TestEndpointOwner(t *testing.T) {
	t.Parallel()
	endpoint := func(name string, labels, annotations map[string]string) client.Object {
		object := newDNSEndpoint()
		object.SetNamespace(namespace)
		object.SetName(name)
		object.SetLabels(labels)
		object.SetAnnotations(annotations)
		return object
	}
	ours, east := map[string]string{"app.kubernetes.io/managed-by": "penstock"}, map[string]string{"penstock.dev/cluster": "east"}
	scheme := runtime.NewScheme()
	kind := newDNSEndpoint().GroupVersionKind()
	scheme.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(kind.GroupVersion().WithKind(kind.Kind+"List"), &unstructured.UnstructuredList{})
	kube := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		endpoint("mine", ours, east), endpoint("somebody-s", nil, east), endpoint("of-west", ours, map[string]string{"penstock.dev/cluster": "west"}),
	).Build()
	names, err := endpointOwner{kube}.Ingresses(t.Context(), cluster)
	if diff := cmp.Diff([]types.NamespacedName{{Namespace: namespace, Name: "mine"}}, names); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
}
