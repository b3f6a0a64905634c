package world

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Headers of every answer of a workload.
const (
	ClusterHeader  = "X-Cluster"
	WorkloadHeader = "X-Workload"
	VersionHeader  = "X-Version"
	// FaultHeader is set on an answer that was made to fail by [Workload.SetFaults].
	FaultHeader = "X-Fault"
)

// RouteHeader is what Skipper adds to answers on demand: see [Options].
const RouteHeader = "X-Route"

// Workload is a Deployment with one pod: an HTTP server on loopback that says who it is. The Services that select it follow it when it
// starts and stops.
type Workload struct {
	Name    string
	cluster *Cluster

	version  atomic.Value // string
	faults   atomic.Int64 // every n-th request fails; 0 none
	requests atomic.Int64

	mu       sync.Mutex // guards what follows
	server   *http.Server
	port     int32 // 0 while stopped
	services []string
}

// AddWorkload starts a workload with a Service of the same name in front of it.
func (c *Cluster) AddWorkload(ctx context.Context, name, version string) (*Workload, error) {
	w := &Workload{Name: name, cluster: c}
	w.version.Store(version)
	c.workloads = append(c.workloads, w)
	if err := w.Start(ctx); err != nil {
		return nil, err
	}
	if err := c.AddService(ctx, name, w); err != nil {
		return nil, err
	}
	return w, nil
}

// AddService makes a Service whose endpoints are those of w.
func (c *Cluster) AddService(ctx context.Context, name string, w *Workload) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace},
		Spec: corev1.ServiceSpec{
			Ports: []corev1.ServicePort{{Name: "http", Port: ServicePort, TargetPort: intstr.FromString("http")}},
		},
	}
	if _, err := c.Kube.CoreV1().Services(Namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create service %s: %w", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	slice := w.slice(name)
	if _, err := c.Kube.DiscoveryV1().EndpointSlices(Namespace).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create endpoint slice %s: %w", name, err)
	}
	w.services = append(w.services, name)
	return nil
}

// SetVersion changes what the workload says of itself, as a finished rollout does.
func (w *Workload) SetVersion(version string) { w.version.Store(version) }

// Version returns what the workload says of itself.
func (w *Workload) Version() string { return w.version.Load().(string) }

// SetFaults lets every n-th request fail with status 500; 0 none.
func (w *Workload) SetFaults(n int) { w.faults.Store(int64(n)) }

// Requests returns how many requests have reached the workload.
func (w *Workload) Requests() int64 { return w.requests.Load() }

func (w *Workload) serve(rw http.ResponseWriter, _ *http.Request) {
	n := w.requests.Add(1)
	rw.Header().Set(ClusterHeader, w.cluster.Name)
	rw.Header().Set(WorkloadHeader, w.Name)
	rw.Header().Set(VersionHeader, w.Version())
	if every := w.faults.Load(); every > 0 && n%every == 0 {
		rw.Header().Set(FaultHeader, "true")
		rw.WriteHeader(http.StatusInternalServerError)
	}
}

// Start brings the pod up, at a new address, and its endpoints with it. It does nothing if the pod is up.
func (w *Workload) Start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server != nil {
		return nil
	}
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	w.server = &http.Server{Handler: http.HandlerFunc(w.serve), ReadHeaderTimeout: 10 * time.Second}
	w.port = int32(listener.Addr().(*net.TCPAddr).Port)
	w.cluster.run(w.server, listener)
	return w.publish(ctx)
}

// Stop takes the pod down abruptly: listener and connections are closed, requests under way are lost. Its endpoints go after it. It
// does nothing if the pod is down.
func (w *Workload) Stop(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server == nil {
		return nil
	}
	err := w.server.Close()
	w.server, w.port = nil, 0
	if err != nil {
		return fmt.Errorf("stop workload %s: %w", w.Name, err)
	}
	return w.publish(ctx)
}

func (w *Workload) publish(ctx context.Context) error {
	for _, name := range w.services {
		slice := w.slice(name)
		if _, err := w.cluster.Kube.DiscoveryV1().EndpointSlices(Namespace).Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update endpoint slice %s: %w", name, err)
		}
	}
	return nil
}

// slice returns the endpoints of a Service. An API server refuses loopback addresses here; the tracker takes them.
func (w *Workload) slice(service string) *discoveryv1.EndpointSlice {
	name, ready := "http", true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: service, Namespace: Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if w.port != 0 {
		protocol := corev1.ProtocolTCP
		slice.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &w.port, Protocol: &protocol}}
		slice.Endpoints = []discoveryv1.Endpoint{{
			Addresses:  []string{"127.0.0.1"},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
		}}
	}
	return slice.DeepCopy() // the port belongs to w
}

func listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(0)))
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return listener, nil
}
