package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	"github.com/penstock-dev/penstock/e2e/internal/process"
)

const (
	clusterName = "scale"
	namespace   = "scale"
	service     = "web"
	// parallel is how many requests the bare client has under way, which is as many as the controller has.
	parallel = 16
	// patience bounds each wait.
	patience = 10 * time.Minute
)

var endpoints = schema.GroupVersionResource{Group: "externaldns.k8s.io", Version: "v1alpha1", Resource: "dnsendpoints"}

// world is a cluster with Ingresses, and the controller.
type world struct {
	*cluster.Cluster

	n          int
	store      store
	dir        string
	log        io.Writer
	fast       dynamic.Interface // without a limit
	controller *process.Process
	metrics    string
}

func newWorld(ctx context.Context, c *cluster.Cluster, dir string, log io.Writer, n int) (*world, error) {
	config := rest.CopyConfig(c.Config)
	config.QPS = -1
	fast, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, doing("dynamic client", err)
	}
	w := &world{Cluster: c, n: n, dir: dir, log: log, fast: fast}
	crd, err := definition(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Define(ctx, crd); err != nil {
		return nil, err
	}
	if _, err := c.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, doing("create", err)
	}
	_, err = c.Kube.DiscoveryV1().EndpointSlices(namespace).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, doing("create", err)
	}
	return w, w.createIngresses(ctx)
}

func (w *world) createIngresses(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	prefix := networkingv1.PathTypePrefix
	api := w.Kube.NetworkingV1().Ingresses(namespace)
	for i := range w.n {
		group.Go(func() error {
			ingress := &networkingv1.Ingress{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%d", i)},
				Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
					Host: fmt.Sprintf("app-%d.example.com", i),
					IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
						Path: "/", PathType: &prefix,
						Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
					}}}},
				}}},
			}
			created, err := api.Create(ctx, ingress, metav1.CreateOptions{})
			if err != nil {
				return doing("create", err)
			}
			created.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: "lb-1234567890.eu-west-1.elb.amazonaws.com"}}
			_, err = api.UpdateStatus(ctx, created, metav1.UpdateOptions{})
			return doing("write the status of an ingress", err)
		})
	}
	return doing("wait for all", group.Wait())
}

// definition is that of DNSEndpoint.
func definition(ctx context.Context) (*unstructured.Unstructured, error) {
	text, err := cluster.ModuleFile(ctx, "sigs.k8s.io/external-dns@v0.21.0", "config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml")
	if err != nil {
		return nil, err
	}
	crd := &unstructured.Unstructured{}
	return crd, doing("read the CustomResourceDefinition", yaml.Unmarshal(text, &crd.Object))
}

// start starts the controller, and returns how long it took to look at every Ingress, when every DNSEndpoint has a weight.
func (w *world) start(ctx context.Context, weight int) (time.Duration, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, doing("look for a port", err)
	}
	w.metrics = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return 0, doing("close", err)
	}
	begin := time.Now()
	env := append([]string{"KUBECONFIG=" + w.Kubeconfig, "POD_NAMESPACE=" + namespace}, w.store.env...)
	w.controller, err = process.Start(process.Options{Env: env, Log: w.log}, filepath.Join(*bin, "penstock"), append([]string{
		"controller", "--cluster-name=" + clusterName, "--backend-type=" + *storeName, "--initial-weight=100", "--health-addr=0", "--metrics-addr=" + w.metrics,
		fmt.Sprintf("--kube-api-qps=%g", *qps), "--assume-sync-after=1s",
	}, w.store.flags...)...)
	if err != nil {
		return 0, err
	}
	if err := w.lookedAt(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	_, err = w.arrived(ctx, weight, "")
	return took, err
}

// lookedAt returns when the controller has worked on every Ingress, by its metrics.
func (w *world) lookedAt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if n, err := w.worked(ctx); err == nil && n >= w.n { // at first nobody answers
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until the controller has looked at %d Ingresses: %w", w.n, ctx.Err())
		}
	}
}

// worked returns how many Ingresses the controller has worked on.
func (w *world) worked(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.metrics+"/metrics", nil)
	if err != nil {
		return 0, doing("make a request", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, doing("read the metrics of the controller", err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "workqueue_work_duration_seconds_count{") && strings.Contains(line, `name="ingresses"`) {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			return n, doing("read the metrics of the controller", err)
		}
	}
	return 0, errors.New("the controller has no metric of its queue")
}

func (w *world) stop() { w.controller.Stop(time.Minute) }

// change writes a weight into the store and returns how long it took until the last DNSEndpoint had it.
func (w *world) change(ctx context.Context, weight int) (time.Duration, error) {
	<-time.After(w.store.settle)
	version, err := w.version(ctx)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := w.store.desire(ctx, weight); err != nil {
		return 0, err
	}
	at, err := w.arrived(ctx, weight, version)
	return at.Sub(begin), err
}

// version returns the resource version of the list of DNSEndpoints.
func (w *world) version(ctx context.Context) (string, error) {
	list, err := w.fast.Resource(endpoints).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return "", doing("list dnsendpoints", err)
	}
	return list.GetResourceVersion(), nil
}

// arrived returns when the last DNSEndpoint got a weight. It watches from a version on, or from what there is.
func (w *world) arrived(ctx context.Context, weight int, version string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	there := map[string]bool{} // those that have the weight
	note := func(object *unstructured.Unstructured) {
		if weightOf(object) == weight {
			there[object.GetName()] = true
		} else {
			delete(there, object.GetName())
		}
	}
	api := w.fast.Resource(endpoints).Namespace(namespace)
	if version == "" {
		list, err := api.List(ctx, metav1.ListOptions{})
		if err != nil {
			return time.Time{}, doing("list dnsendpoints", err)
		}
		for i := range list.Items {
			note(&list.Items[i])
		}
		version = list.GetResourceVersion()
	}
	watch, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return time.Time{}, doing("watch dnsendpoints", err)
	}
	defer watch.Stop()
	for len(there) < w.n {
		event, ok := <-watch.ResultChan()
		object, isObject := event.Object.(*unstructured.Unstructured)
		if !ok || !isObject {
			return time.Time{}, fmt.Errorf("%d of %d DNSEndpoints have weight %d: the watch has ended: %w", len(there), w.n, weight, errors.Join(ctx.Err(), apierrors.FromObject(event.Object)))
		}
		note(object)
	}
	return time.Now(), nil
}

// weightOf returns the weight of the first record, -1 if it has none.
func weightOf(object *unstructured.Unstructured) int {
	records, _, _ := unstructured.NestedSlice(object.Object, "spec", "endpoints") // what is malformed has no weight
	if len(records) == 0 {
		return -1
	}
	record, _ := records[0].(map[string]any)
	properties, _, _ := unstructured.NestedSlice(record, "providerSpecific")
	if len(properties) == 0 {
		return -1
	}
	property, _ := properties[0].(map[string]any)
	weight, err := strconv.Atoi(fmt.Sprint(property["value"]))
	if err != nil {
		return -1
	}
	return weight
}

// bare writes the same objects as the controller does, without one, and returns how long it took until the last had the weight. Somebody watches, as in change.
func (w *world) bare(ctx context.Context, weight int) (time.Duration, error) {
	api := w.fast.Resource(endpoints).Namespace(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, doing("list dnsendpoints", err)
	}
	for i := range list.Items {
		records, _, err := unstructured.NestedSlice(list.Items[i].Object, "spec", "endpoints")
		if err != nil {
			return 0, doing("read endpoints", err)
		}
		record, _ := records[0].(map[string]any)
		record["providerSpecific"] = []any{map[string]any{"name": "aws/weight", "value": strconv.Itoa(weight)}}
		if err := unstructured.SetNestedSlice(list.Items[i].Object, records, "spec", "endpoints"); err != nil {
			return 0, doing("write endpoints", err)
		}
	}
	begin := time.Now()
	var at time.Time
	var group errgroup.Group
	group.SetLimit(parallel + 1)
	group.Go(func() (err error) {
		at, err = w.arrived(ctx, weight, list.GetResourceVersion())
		return err
	})
	for i := range list.Items {
		group.Go(func() error {
			_, err := api.Update(ctx, &list.Items[i], metav1.UpdateOptions{})
			return doing("update a dnsendpoint", err)
		})
	}
	if err := group.Wait(); err != nil {
		return 0, doing("wait for all", err)
	}
	return at.Sub(begin), nil
}

// requests are what the API server has counted, the requests of this program among them.
type requests struct {
	writes int // of DNSEndpoints
	others int // writes of what else the controller may write
	reads  int // of what the controller has in its caches
}

func (r requests) since(before requests) requests {
	return requests{r.writes - before.writes, r.others - before.others, r.reads - before.reads}
}

// requests reads the counters of the API server.
func (w *world) requests(ctx context.Context) (requests, error) {
	text, err := w.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return requests{}, doing("read the metrics of the API server", err)
	}
	var r requests
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") {
			continue
		}
		field := strings.Fields(line)
		n, err := strconv.ParseFloat(field[len(field)-1], 64)
		if err != nil {
			return requests{}, doing("read the metrics of the API server", err)
		}
		of := func(name string, values ...string) bool {
			return slices.ContainsFunc(values, func(value string) bool { return strings.Contains(line, name+`="`+value+`"`) })
		}
		writes := of("verb", "PUT", "POST", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION")
		switch {
		case writes && of("resource", "dnsendpoints"):
			r.writes += int(n)
		case writes && of("resource", "ingresses", "configmaps", "events"):
			r.others += int(n)
		case of("verb", "GET", "LIST") && of("resource", "dnsendpoints", "ingresses", "endpointslices"):
			r.reads += int(n)
		}
	}
	return r, nil
}

// used is what the controller did while nothing changed.
type used struct {
	writes int
	cpu    float64 // per cent of a core
}

func (w *world) idle(ctx context.Context, d time.Duration) (used, error) {
	timer := time.NewTimer(d / 3) // what a start has begun comes to an end
	defer timer.Stop()
	<-timer.C
	before, err := w.requests(ctx)
	if err != nil {
		return used{}, err
	}
	cpu, err := w.cpu()
	if err != nil {
		return used{}, err
	}
	timer.Reset(d)
	<-timer.C
	after, err := w.requests(ctx)
	if err != nil {
		return used{}, err
	}
	now, err := w.cpu()
	if err != nil {
		return used{}, err
	}
	quiet := after.since(before)
	return used{writes: quiet.writes + quiet.others, cpu: 100 * (now - cpu).Seconds() / d.Seconds()}, nil
}

// cpu returns what the controller has used so far, from its own metrics.
func (w *world) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.controller.PID()))
	if err != nil {
		return 0, doing("read the state of the controller", err)
	}
	// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: utime and stime are fields 14 and 15, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var total time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, doing("read the state of the controller", err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total, nil
}

// memory returns the most bytes that were resident since the controller began.
func (w *world) memory() (int64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", w.controller.PID()))
	if err != nil {
		return 0, doing("read the state of the controller", err)
	}
	defer func() { _ = status.Close() }() // it was read
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10, doing("read the state of the controller", err)
		}
	}
	return 0, errors.New("no VmHWM in the status of the controller")
}
