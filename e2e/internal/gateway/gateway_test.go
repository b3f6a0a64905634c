package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
)

// newGateway returns a gateway to an API that accepts one ConfigMap, a client that passes through it, and the number of requests that arrived.
func newGateway(t *testing.T) (*gateway.Gateway, rest.Interface, *atomic.Int64) {
	t.Helper()
	arrived := &atomic.Int64{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Warning", `299 - "from the API"`)
		if err := json.NewEncoder(w).Encode(newConfigMap()); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(api.Close)
	g, err := gateway.New(t.Context(), &rest.Config{Host: api.URL, BearerToken: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: g.URL, WarningHandler: rest.NoWarnings{}})
	if err != nil {
		t.Fatal(err)
	}
	return g, kube.CoreV1().RESTClient(), arrived
}

func newConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}, Data: map[string]string{"a": "b"},
	}
}

// update sends the ConfigMap once, without client-go's own retries.
func update(ctx context.Context, client rest.Interface) (*corev1.ConfigMap, error) {
	got := &corev1.ConfigMap{}
	err := client.Put().MaxRetries(0).Namespace("shop").Resource("configmaps").Name("app").Body(newConfigMap()).Do(ctx).Into(got)
	return got, err
}

func TestPasses(t *testing.T) {
	t.Parallel()
	_, client, arrived := newGateway(t)
	got, err := update(t.Context(), client)
	if err != nil || got.Data["a"] != "b" || arrived.Load() != 1 {
		t.Errorf("the answer is %+v (%v) of %d requests that arrived, want that of the API", got, err, arrived.Load())
	}
}

// client-go tells the faults apart as it does those of an API server.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault   gateway.Fault
		is      func(error) bool
		arrives int64
	}{
		"Conflict":            {gateway.Fault{Status: http.StatusConflict}, apierrors.IsConflict, 0},
		"TooManyRequests":     {gateway.Fault{Status: http.StatusTooManyRequests}, apierrors.IsTooManyRequests, 0},
		"InternalServerError": {gateway.Fault{Status: http.StatusInternalServerError}, apierrors.IsInternalError, 0},
		"ServiceUnavailable":  {gateway.Fault{Status: http.StatusServiceUnavailable}, apierrors.IsServiceUnavailable, 0},
		"Forbidden":           {gateway.Fault{Status: http.StatusForbidden}, apierrors.IsForbidden, 0},
		"Lost":                {gateway.Fault{Lost: true}, apierrors.IsTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, client, arrived := newGateway(t)
			g.Decide(func(*http.Request) gateway.Fault { return tc.fault })
			if _, err := update(t.Context(), client); !tc.is(err) {
				t.Errorf("the client does not know the error %v", err)
			}
			if arrived.Load() != tc.arrives {
				t.Errorf("%d requests reached the API, want %d", arrived.Load(), tc.arrives)
			}
			g.Decide(nil)
			if _, err := update(t.Context(), client); err != nil {
				t.Errorf("once the fault is over: %v", err)
			}
		})
	}
}

// A request that is held reaches the API when it is let go, and not at all when the client gives up before that.
func TestHold(t *testing.T) {
	t.Parallel()
	g, client, arrived := newGateway(t)
	hold, held := make(chan struct{}), make(chan struct{}, 2)
	g.Decide(func(*http.Request) gateway.Fault {
		held <- struct{}{}
		return gateway.Fault{Hold: hold}
	})
	impatient, giveUp := context.WithTimeout(t.Context(), time.Minute)
	result := make(chan error, 1)
	go func() {
		_, err := update(impatient, client)
		result <- err
	}()
	<-held
	giveUp()
	if err := <-result; err == nil || arrived.Load() != 0 {
		t.Errorf("the client gave up with %v, and %d requests reached the API", err, arrived.Load())
	}
	go func() {
		_, err := update(t.Context(), client)
		result <- err
	}()
	<-held
	close(hold)
	if err := <-result; err != nil || arrived.Load() != 1 {
		t.Errorf("once it is let go: %v, and %d requests reached the API", err, arrived.Load())
	}
}

func TestAPIIsGone(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.NotFoundHandler())
	api.Close()
	g, err := gateway.New(t.Context(), &rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: g.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := update(t.Context(), kube.CoreV1().RESTClient()); err == nil {
		t.Error("no error, though there is no API")
	}
}
