package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/penstock-dev/penstock/examples/world"
)

const (
	// Port is where containers listen.
	Port = 8080
	// Grace is how long a pod that is being deleted still answers, as one does whose proxies have yet to learn of its end.
	Grace = 4 * time.Second

	// VersionAnnotation is what a pod says of itself.
	VersionAnnotation = "e2e.example.com/version"
	// FaultsAnnotation makes every n-th answer of a pod an error.
	FaultsAnnotation = "e2e.example.com/faults"
	// ScaledDownHeader is set on answers of pods whose Deployment has been scaled to zero: nobody should get one.
	ScaledDownHeader = "X-Scaled-Down"

	nodeName = "node"
	appLabel = "app"
)

// Node plays scheduler and kubelet. Its pods have addresses of their own, which [Node.Transport] leads to loopback, because an
// EndpointSlice with loopback addresses is refused.
type Node struct {
	cluster     string
	kube        kubernetes.Interface
	deployments appslisters.DeploymentLister
	cancel      context.CancelFunc
	informers   informers.SharedInformerFactory

	mu        sync.Mutex // guards the following
	pods      map[types.UID]*pod
	addresses map[string]string // of pods, host:port: where they really listen
	last      int               // the address given last
	requests  map[string]int    // by namespace, app and version
	errs      []error
}

type pod struct {
	server *http.Server
	ip     string
	ending bool
}

func startNode(ctx context.Context, cluster string, kube kubernetes.Interface) (*Node, error) {
	ctx, cancel := context.WithCancel(ctx)
	n := &Node{cluster: cluster, kube: kube, cancel: cancel, pods: map[types.UID]*pod{}, addresses: map[string]string{}, requests: map[string]int{}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		cancel()
		return nil, fmt.Errorf("create node: %w", err)
	}
	n.informers = informers.NewSharedInformerFactory(kube, 0)
	n.deployments = n.informers.Apps().V1().Deployments().Lister()
	handle := func(object any) {
		if p, ok := object.(*corev1.Pod); ok {
			n.note(n.sync(ctx, p))
		}
	}
	_, err := n.informers.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: handle, UpdateFunc: func(_, object any) { handle(object) },
		DeleteFunc: func(object any) {
			if p, ok := object.(*corev1.Pod); ok {
				n.end(p.UID)
			}
		},
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	n.informers.Start(ctx.Done())
	n.informers.WaitForCacheSync(ctx.Done())
	return n, nil
}

// close ends all pods. Its error is what went wrong on the node in all its time.
func (n *Node) close() error {
	n.cancel()
	n.informers.Shutdown()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		_ = p.server.Close() // connections that are closed twice are no harm
	}
	return errors.Join(n.errs...)
}

func (n *Node) note(err error) {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || errors.Is(err, context.Canceled) {
		return // the next event has what is new
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, fmt.Errorf("node: %w", err))
}

// sync does the next thing for a pod.
func (n *Node) sync(ctx context.Context, p *corev1.Pod) error {
	pods := n.kube.CoreV1().Pods(p.Namespace)
	switch {
	case p.DeletionTimestamp != nil:
		n.finish(ctx, p)
	case p.Spec.NodeName == "":
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: nodeName}}
		if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("bind pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	case p.Status.PodIP == "":
		ip, err := n.begin(ctx, p)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Format(time.RFC3339)
		status, err := json.Marshal(map[string]any{"status": map[string]any{
			"phase": corev1.PodRunning, "podIP": ip, "podIPs": []map[string]string{{"ip": ip}},
			"conditions": []map[string]any{{"type": corev1.PodReady, "status": corev1.ConditionTrue, "lastTransitionTime": now}},
		}})
		if err != nil {
			return fmt.Errorf("status of pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		if _, err := pods.Patch(ctx, p.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
			return fmt.Errorf("status of pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// begin starts the server of a pod, unless it runs, and returns its address.
func (n *Node) begin(ctx context.Context, p *corev1.Pod) (ip string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if running := n.pods[p.UID]; running != nil {
		return running.ip, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	n.last++
	running := &pod{
		ip:     fmt.Sprintf("198.18.%d.%d", n.last/250, n.last%250+1), // https://www.rfc-editor.org/rfc/rfc2544
		server: &http.Server{Handler: n.handler(p), ReadHeaderTimeout: 10 * time.Second},
	}
	n.pods[p.UID] = running
	n.addresses[net.JoinHostPort(running.ip, strconv.Itoa(Port))] = listener.Addr().String()
	go func() { _ = running.server.Serve(listener) }() // it ends with ErrServerClosed
	return running.ip, nil
}

// handler is what runs in a pod.
func (n *Node) handler(p *corev1.Pod) http.Handler {
	var requests atomic.Int64
	faults, _ := strconv.ParseInt(p.Annotations[FaultsAnnotation], 10, 64) // 0, no faults, where there are none
	name, namespace := p.Labels[appLabel], p.Namespace
	key := path.Join(namespace, name, p.Annotations[VersionAnnotation])
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		n.requests[key]++
		n.mu.Unlock()
		w.Header().Set(world.ClusterHeader, n.cluster)
		w.Header().Set(world.WorkloadHeader, name)
		w.Header().Set(world.VersionHeader, p.Annotations[VersionAnnotation])
		if d, err := n.deployments.Deployments(namespace).Get(name); err == nil && d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
			w.Header().Set(ScaledDownHeader, "true")
		}
		if faults > 0 && requests.Add(1)%faults == 0 {
			w.Header().Set(world.FaultHeader, "true")
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
}

// Requests returns how many requests, copies included, the pods of an app got at a version.
func (n *Node) Requests(namespace, app, version string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests[path.Join(namespace, app, version)]
}

// finish ends a pod that is being deleted, after its time of grace.
func (n *Node) finish(ctx context.Context, p *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	running := n.pods[p.UID]
	if running != nil && running.ending {
		return
	}
	grace := Grace
	if running == nil {
		grace = 0
	} else {
		running.ending = true
	}
	time.AfterFunc(grace, func() {
		n.end(p.UID)
		now := int64(0)
		err := n.kube.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil {
			n.note(fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err))
		}
	})
}

func (n *Node) end(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[uid]; p != nil {
		_ = p.server.Close() // connections that are closed twice are no harm
		delete(n.pods, uid)
		delete(n.addresses, net.JoinHostPort(p.ip, strconv.Itoa(Port)))
	}
}

// Transport leads requests for pods to where they listen.
func (n *Node) Transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		n.mu.Lock()
		address, ok := n.addresses[r.URL.Host]
		n.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("dial %s: %w", r.URL.Host, errNoPod)
		}
		there := r.Clone(r.Context())
		there.URL.Host = address
		return next.RoundTrip(there)
	})
}

var errNoPod = errors.New("no pod has this address")

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
