package world

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/zalando/skipper/dataclients/kubernetes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

// api serves the three lists that Skipper's Kubernetes data client polls. It reads the clientset's tracker, so that neither the
// reactors nor the recorded actions of a test see Skipper's reads.
//
// Every other path is 404; for RouteGroups that is how an API server says that their CRD is not installed.
type api struct {
	tracker clienttesting.ObjectTracker
	polls   atomic.Int64 // of Ingresses, which Skipper reads first in each poll
	down    atomic.Bool
}

type list struct {
	resource schema.GroupVersionResource
	kind     schema.GroupVersionKind
}

func listOf(group, version, resource, kind string) list {
	return list{
		resource: schema.GroupVersionResource{Group: group, Version: version, Resource: resource},
		kind:     schema.GroupVersionKind{Group: group, Version: version, Kind: kind},
	}
}

var lists = map[string]list{
	kubernetes.IngressesV1ClusterURI:    listOf("networking.k8s.io", "v1", "ingresses", "Ingress"),
	kubernetes.ServicesClusterURI:       listOf("", "v1", "services", "Service"),
	kubernetes.EndpointSlicesClusterURI: listOf("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.down.Load() {
		http.Error(w, "the API is down", http.StatusServiceUnavailable)
		return
	}
	l, ok := lists[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Path == kubernetes.IngressesV1ClusterURI {
		a.polls.Add(1)
	}
	objects, err := a.tracker.List(l.resource, l.kind, "")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that went away is none of the API's business.
	_ = json.NewEncoder(w).Encode(objects)
}
