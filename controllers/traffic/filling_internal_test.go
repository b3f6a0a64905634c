package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/dns/externaldns"
)

// installed is a cache in a cluster that does not know DNSEndpoints before a time.
type installed struct {
	*informertest.FakeInformers

	at time.Time
	mu *sync.Mutex // of the informers, which have none
}

// GetInformer implements cache.Informers.
func (i installed) GetInformer(ctx context.Context, object client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	if kind := object.GetObjectKind().GroupVersionKind(); kind.Kind == "DNSEndpoint" && time.Now().Before(i.at) {
		return nil, &meta.NoKindMatchError{GroupKind: kind.GroupKind(), SearchedVersions: []string{kind.Version}}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.FakeInformers.GetInformer(ctx, object, options...)
}

// A leader without the CustomResourceDefinition says at once what is missing, in an event and in its status. It gives up after two minutes, since it holds the
// lease and does nothing, and leads when the definition is installed before.
func TestALeaderWithoutTheDefinition(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		installed, end time.Duration // 0 is never
		want           string        // what it ends with; empty is nothing
		leads          bool
	}{
		"Never":      {0, 0, "the caches are not filled after 2m0s: no matches for kind \"DNSEndpoint\" in version \"externaldns.k8s.io/v1alpha1\": install the CustomResourceDefinition", false},
		"InTime":     {time.Minute, 3 * time.Minute, "", true},
		"ToldToEnd":  {0, time.Minute, "", false},
		"AtItsStart": {0, time.Nanosecond, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil, app("one", "one.example.com")...)
				r.owner = &owned{}
				if !tc.leads {
					r.store = panicking{r.row}
				}
				caches := installed{&informertest.FakeInformers{Synced: new(true)}, time.Now().Add(24 * time.Hour), &sync.Mutex{}}
				if tc.installed > 0 {
					caches.at = time.Now().Add(tc.installed)
				}
				ctx, end := context.WithCancel(t.Context())
				defer end()
				if tc.end > 0 {
					time.AfterFunc(tc.end, end)
				}
				ended := make(chan error, 1)
				go func() { ended <- (&leader{r.Controller, caches}).Start(ctx) }()
				if tc.end == 0 || tc.end > time.Second {
					synctest.Wait()
					if r.notes.with("Warning CachesNotFilled controller", "install the CustomResourceDefinition") != 1 {
						t.Errorf("events %q", r.notes.lines)
					}
					answer := httptest.NewRecorder()
					r.handleStatus(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
					if body := answer.Body.String(); answer.Code != http.StatusServiceUnavailable || !strings.Contains(body, "this replica leads") || !strings.Contains(body, `"DNSEndpoint"`) {
						t.Errorf("status %d %s", answer.Code, body)
					}
				}
				if tc.leads {
					<-time.After(tc.installed + 11*time.Second) // the bubble's time
					synctest.Wait()
					if r.filling.waits() || !r.leads.Load() {
						t.Errorf("waits %t, leads %t", r.filling.waits(), r.leads.Load())
					}
				}
				err := <-ended
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("it ends with %v", err)
				}
				if got := r.notes.with("CachesNotFilled"); got > 1 {
					t.Errorf("%d events: %q", got, r.notes.lines)
				}
			})
		})
	}
}

// A leader that may not list says which right is missing, as the API server does.
func TestALeaderWithoutRights(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		denied := apierrors.NewForbidden(schema.GroupResource{Resource: path.Base(r.URL.Path)}, "", errors.New(`User "penstock" cannot list them`)).Status()
		denied.Kind, denied.APIVersion = "Status", "v1"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(denied)
	}))
	defer server.Close()
	r := newRig(t, nil)
	options, err := cacheOptions(r.filling)
	if err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{
		networkingv1.SchemeGroupVersion.WithKind("Ingress"), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		corev1.SchemeGroupVersion.WithKind("ConfigMap"), externaldns.Resource.GroupVersion().WithKind("DNSEndpoint"),
	} {
		mapper.Add(kind, meta.RESTScopeNamespace)
	}
	options.Mapper, options.Scheme, options.HTTPClient = mapper, clientgoscheme.Scheme, server.Client()
	caches, err := cache.New(&rest.Config{Host: server.URL}, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithTimeout(t.Context(), 20*time.Second)
	defer end()
	filled, ended := make(chan error, 1), make(chan error, 1)
	go func() { filled <- caches.Start(ctx) }()
	go func() { ended <- (&leader{r.Controller, caches}).Start(ctx) }()
	for r.notes.with("Warning CachesNotFilled controller", "ingresses is forbidden", `User "penstock" cannot list them`, "allow it with a ClusterRole") == 0 {
		if ctx.Err() != nil {
			t.Fatalf("events %q", r.notes.lines)
		}
		runtime.Gosched()
	}
	end()
	if err := errors.Join(<-ended, <-filled); err != nil {
		t.Error(err)
	}
}
