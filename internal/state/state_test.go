package state_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/state"
)

var at = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: state.Name("app")}, Data: data}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	later := at.Add(5 * time.Minute)
	desired := state.Desired{
		Generation: 7, Since: at, Mode: state.Split, Ingress: "web", Service: "app", CanaryIngress: "web-next", Attached: true,
		Weights: state.Weights{Primary: 70, Canary: 30}, Effective: state.Weights{Primary: 90, Canary: 10},
	}
	observed := state.Observed{
		Generation: 7, Attached: true, Change: "C1", InSyncSince: &at, TTLSeconds: 300, EffectiveAt: &later, Effective: true,
	}
	d, err := state.Encode(desired)
	if err != nil {
		t.Fatal(err)
	}
	o, err := state.Encode(observed)
	if err != nil {
		t.Fatal(err)
	}
	gotD, gotO, err := state.Read(configMap(map[string]string{state.DesiredKey: d, state.ObservedKey: o}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(desired, gotD); diff != "" {
		t.Errorf("desired -want +got:\n%s", diff)
	}
	if gotD != desired {
		t.Errorf("desired %+v is not == to what was written, %+v", gotD, desired)
	}
	if diff := cmp.Diff(observed, gotO); diff != "" {
		t.Errorf("observed -want +got:\n%s", diff)
	}
	if !gotO.Done(gotD) {
		t.Error("an effective answer to the generation is not done")
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		data     map[string]string
		desired  state.Desired
		observed state.Observed
		wantErr  []string // parts of the text; none means no error
	}{
		"Empty": {
			reason: "A ConfigMap that nobody has written to yet is two zero values.",
		},
		"UnknownField": {
			reason:  "A newer version may have added a field.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"shared","colour":"red"}`},
			desired: state.Desired{Generation: 2, Mode: state.Shared},
		},
		"DesiredIsNoJSON": {
			reason:   "The error names the object, the key and the remedy, and the other side is still there.",
			data:     map[string]string{"desired": "generation: 2", "observed": `{"generation":2,"effective":true}`},
			observed: state.Observed{Generation: 2, Effective: true},
			wantErr:  []string{"configmap shop/app-penstock", "data.desired", "delete the key"},
		},
		"ObservedIsNoJSON": {
			reason:  "A broken answer does not hide what was asked.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"shared"}`, "observed": "x"},
			desired: state.Desired{Generation: 2, Mode: state.Shared},
			wantErr: []string{"data.observed"},
		},
		"BothBroken": {
			reason:  "Both keys are named.",
			data:    map[string]string{"desired": "[]", "observed": ""},
			wantErr: []string{"data.desired", "data.observed"},
		},
		"SomethingBehind": {
			reason:  "Half of an edit that went wrong is not taken for the whole.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"split"} {"generation":3}`},
			wantErr: []string{"data.desired", "something follows"},
		},
		"UnknownMode": {
			reason:  "A mode of another version cannot be acted on.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"both"}`},
			wantErr: []string{`mode "both"`, `"shared"`, `"split"`},
		},
		"ZeroWeightsAttached": {
			reason:  "Route 53 serves 0/0 equally, so it is never a wish.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"split","attached":true}`},
			wantErr: []string{"weights 0/0"},
		},
		"WeightsBeyond": {
			reason:  "110/-10 adds up to 100 and is no split.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"split","weights":{"primary":110,"canary":-10}}`},
			wantErr: []string{"weights 110/-10"},
		},
		"EffectiveBeyond": {
			reason:  "What GetRoutes reports is checked as what is written.",
			data:    map[string]string{"desired": `{"generation":2,"mode":"split","effective":{"primary":1,"canary":2}}`},
			wantErr: []string{"effective weights 1/2"},
		},
		"Exposure":           {reason: "It is a percentage.", data: map[string]string{"desired": `{"generation":1,"mode":"shared","exposure":101}`}, wantErr: []string{"exposure 101"}},
		"NegativeGeneration": {reason: "Generations only grow.", data: map[string]string{"desired": `{"generation":-1,"mode":"shared"}`}, wantErr: []string{"generation -1"}},
		"NegativeAnswer":     {reason: "Generations only grow.", data: map[string]string{"observed": `{"generation":-1}`}, wantErr: []string{"generation -1"}},
		"NegativeTTL":        {reason: "A wait is never negative.", data: map[string]string{"observed": `{"ttlSeconds":-5}`}, wantErr: []string{"ttlSeconds -5"}},
		"EndlessServedTTL":   {reason: "The same.", data: map[string]string{"observed": `{"servedTTLSeconds":9223372036854775807}`}, wantErr: []string{"servedTTLSeconds"}},
		"EndlessTTL":         {reason: "A wait must not overflow a duration.", data: map[string]string{"observed": `{"ttlSeconds":9223372036854775807}`}, wantErr: []string{"ttlSeconds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desired, observed, err := state.Read(configMap(tc.data))
			if diff := cmp.Diff(tc.desired, desired); diff != "" {
				t.Errorf("%s\ndesired -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.observed, observed); diff != "" {
				t.Errorf("%s\nobserved -want +got:\n%s", tc.reason, diff)
			}
			if (err != nil) != (len(tc.wantErr) > 0) {
				t.Fatalf("%s\nerror %v, want one with %q", tc.reason, err, tc.wantErr)
			}
			for _, part := range tc.wantErr {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s\nerror %q does not say %q", tc.reason, err, part)
				}
			}
			if malformed := (*state.MalformedError)(nil); err != nil && !errors.As(err, &malformed) {
				t.Errorf("%s\nerror %v is no MalformedError", tc.reason, err)
			}
		})
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	d := state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20}
	e := d
	e.Generation, e.Since = 2, at
	if !d.Same(e) {
		t.Error("a generation and its time are no difference in what is wanted")
	}
	e.Exposure = 30
	if d.Same(e) {
		t.Error("another exposure is a difference")
	}
}

func TestDone(t *testing.T) {
	t.Parallel()
	d := state.Desired{Generation: 3}
	for name, tc := range map[string]struct {
		reason   string
		observed state.Observed
		want     bool
	}{
		"Effective":  {"The answer to this generation.", state.Observed{Generation: 3, Effective: true}, true},
		"Earlier":    {"An answer to an earlier wish says nothing about this one.", state.Observed{Generation: 2, Effective: true}, false},
		"Later":      {"An answer to a wish that was lost says nothing about this one.", state.Observed{Generation: 4, Effective: true}, false},
		"InSyncOnly": {"In sync is not effective.", state.Observed{Generation: 3, InSyncSince: &at}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.observed.Done(d); got != tc.want {
				t.Errorf("%s\nDone = %t, want %t", tc.reason, got, tc.want)
			}
		})
	}
}

// FuzzRead asserts that whatever stands in a ConfigMap is either refused with an error that names the key, or can be acted on and
// survives being written back.
func FuzzRead(f *testing.F) {
	f.Add(`{"generation":7,"since":"2026-03-01T12:00:00Z","mode":"split","ingress":"web","service":"app","canaryIngress":"web-next","attached":true,"weights":{"primary":70,"canary":30},"effective":{"primary":90,"canary":10}}`,
		`{"generation":7,"attached":true,"change":"C1","inSyncSince":"2026-03-01T12:00:00Z","ttlSeconds":300,"effectiveAt":"2026-03-01T12:05:00Z","effective":true}`)
	f.Add(`{"generation":1,"mode":"shared","exposure":20}`, `{}`)
	f.Add(`null`, `{"generation":1e3}`)
	f.Add(`{"mode":"split","weights":{"primary":200,"canary":-100}}`, `{"ttlSeconds":1e18}`)
	f.Fuzz(func(t *testing.T, desired, observed string) {
		d, o, err := state.Read(configMap(map[string]string{state.DesiredKey: desired, state.ObservedKey: observed}))
		if err != nil {
			if malformed := (*state.MalformedError)(nil); !errors.As(err, &malformed) || !strings.Contains(err.Error(), "data."+malformed.Key) {
				t.Fatalf("error %v does not name the key", err)
			}
		}
		if w := d.Weights; w.Primary+w.Canary != 100 && (d.Attached || w != state.Weights{}) {
			t.Fatalf("%q was read as weights %+v", desired, w)
		}
		textD, err := state.Encode(d)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", d, err)
		}
		textO, err := state.Encode(o)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", o, err)
		}
		backD, backO, err := state.Read(configMap(map[string]string{state.DesiredKey: textD, state.ObservedKey: textO}))
		if err != nil {
			t.Fatalf("%s and %s were written and cannot be read: %v", textD, textO, err)
		}
		if diff := cmp.Diff(d, backD); diff != "" {
			t.Fatalf("desired changed on the way -want +got:\n%s", diff)
		}
		if diff := cmp.Diff(o, backO); diff != "" {
			t.Fatalf("observed changed on the way -want +got:\n%s", diff)
		}
	})
}
