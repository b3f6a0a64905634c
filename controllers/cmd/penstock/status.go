package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

const statusHelp = `Usage: penstock status [flags]

Shows, for each host and cluster, the weight that is desired, that is served and that is published, since when the
records are in sync, the canary that the host points at, and whether somebody serves it. The leader among the
controllers is asked, through the API server's proxy of Pods. That needs the verb get on pods/proxy, and get on leases and
list on pods to find it: the chart makes such a role with rbac.viewer.

Exit codes: 0 if every cluster answered, 1 if one did not, 64 for wrong flags. A watch that is interrupted ends with 0.

Examples:
  # two clusters in one table
  penstock status --namespace penstock --context east --context west

  # one controller that can be reached directly, as JSON
  penstock status --url http://127.0.0.1:8080 -o json
`

// podSelector finds the controller's Pod where nobody holds a lease.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
const podSelector = "app.kubernetes.io/name=penstock"

// maxStatus bounds an answer in bytes: some ten thousand hosts.
const maxStatus = 16 << 20

type statusOptions struct {
	kubeconfig string
	contexts   repeated
	urls       repeated
	namespace  string
	port       int
	output     string
	watch      bool
	interval   time.Duration
	timeout    time.Duration
}

func runStatus(ctx context.Context, args []string, out, _ io.Writer) (int, error) {
	return status(ctx, args, newScreen(out), clock.RealClock{})
}

func status(ctx context.Context, args []string, out screen, clock clock.Clock) (int, error) {
	o, err := parseStatus(args, out)
	if err != nil {
		return usageFailed, err
	}
	asked := o.sources()
	if !o.watch {
		clusters := askAll(ctx, asked, o.timeout)
		text, err := o.text(clusters, out.width(), clock.Now())
		if err != nil {
			return failed, err
		}
		if err := write(out, text); err != nil {
			return failed, err
		}
		if slices.ContainsFunc(clusters, func(c clusterStatus) bool { return c.Error != "" }) {
			return failed, nil // each is in the table
		}
		return 0, nil
	}
	return 0, o.follow(ctx, out, asked, clock)
}

func parseStatus(args []string, out io.Writer) (statusOptions, error) {
	var o statusOptions
	flags := flag.NewFlagSet("penstock status", flag.ContinueOnError)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`path` of the kubeconfig; empty is that of KUBECONFIG, of the home directory, or the Pod's own access")
	flags.Var(&o.contexts, "context", "`name` of a kubeconfig context; may be repeated")
	flags.Var(&o.urls, "url", "`URL` of a controller's metrics address, which is asked directly; may be repeated")
	flags.StringVar(&o.namespace, "namespace", "", "`namespace` of the controller; empty is that of the context")
	flags.IntVar(&o.port, "metrics-port", 8080, "`port` of the controller's metrics")
	flags.StringVar(&o.output, "o", "", "`format`: json, or empty for a table")
	flags.BoolVar(&o.watch, "watch", false, "show the status again whenever it changes, until interrupted")
	flags.DurationVar(&o.interval, "interval", 2*time.Second, "watch: how `long` until the controllers are asked again")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how `long` one cluster may take to answer")
	rest, err := parse(flags, statusHelp, args, out)
	switch {
	case err != nil:
		return o, err
	case len(rest) > 0:
		return o, fmt.Errorf("argument %q is no flag: name clusters with the flag context", rest[0])
	case o.output != "" && o.output != "json":
		return o, fmt.Errorf("flag o %q: write json, or leave it out for a table", o.output)
	case o.port < 1 || o.port > 65535:
		return o, fmt.Errorf("flag metrics-port %d: write a port from 1 to 65535", o.port)
	case len(o.urls) > 0 && len(o.contexts) > 0:
		return o, errors.New("flags url and context: either a controller is asked directly or through an API server; remove one")
	case o.interval < time.Second:
		return o, fmt.Errorf("flag interval %s: write at least 1s", o.interval)
	case o.timeout <= 0:
		return o, fmt.Errorf("flag timeout %s: write a time above 0", o.timeout)
	}
	for _, address := range o.urls {
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return o, fmt.Errorf("flag url %q: write the address of a controller's metrics such as http://127.0.0.1:8080", address)
		}
	}
	return o, nil
}

// statusSource is a controller that is asked.
type statusSource struct {
	name string
	ask  func(ctx context.Context) (*traffic.Status, error)
}

// clusterStatus is what became of the asking.
type clusterStatus struct {
	// Source is the context or the URL that was asked; empty is the cluster of the Pod that asks.
	Source string          `json:"source,omitempty"`
	Status *traffic.Status `json:"status,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func (o statusOptions) sources() []statusSource {
	var all []statusSource
	for _, address := range o.urls {
		all = append(all, statusSource{address, func(ctx context.Context) (*traffic.Status, error) { return askURL(ctx, address) }})
	}
	if len(all) > 0 {
		return all
	}
	contexts := o.contexts
	if len(contexts) == 0 {
		contexts = repeated{currentContext(o.kubeconfig)}
	}
	for _, name := range contexts {
		all = append(all, statusSource{name, func(ctx context.Context) (*traffic.Status, error) { return o.askCluster(ctx, name) }})
	}
	return all
}

// askAll asks all at the same time: one that does not answer delays the others by no more than its timeout.
func askAll(ctx context.Context, sources []statusSource, timeout time.Duration) []clusterStatus {
	clusters := make([]clusterStatus, len(sources))
	var asking sync.WaitGroup
	for i, s := range sources {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			clusters[i].Source = s.name
			status, err := s.ask(ctx)
			switch {
			case err != nil && ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
				clusters[i].Error = clean(fmt.Sprintf("no answer in %s: %v", timeout, err))
			case err != nil:
				clusters[i].Error = clean(err.Error())
			default:
				clusters[i].Status = status
			}
		})
	}
	asking.Wait()
	return clusters
}

// askURL asks a controller directly.
func askURL(ctx context.Context, address string) (*traffic.Status, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(address, "/")+traffic.StatusPath, nil)
	if err != nil {
		return nil, fmt.Errorf("url %q: %w", address, err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the controller: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // what came is told
		return nil, fmt.Errorf("ask the controller at %s: %s: %s%s", address, response.Status, said, remedy(response.StatusCode))
	}
	return decodeStatus(response.Body)
}

// remedy says what a controller that refuses to tell its status needs.
func remedy(code int) string {
	switch code {
	case http.StatusServiceUnavailable: // it says whether it does not lead, or is not ready
		return ""
	case http.StatusNotFound:
		return ": this is no penstock controller, or an older one, or the port is not that of its metrics"
	case http.StatusForbidden:
		return ": allow the verb get on pods/proxy and leases, and list on pods, as the role of the chart does with rbac.viewer"
	}
	return ""
}

func decodeStatus(body io.Reader) (*traffic.Status, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxStatus+1))
	if err != nil {
		return nil, fmt.Errorf("read the controller's answer: %w", err)
	}
	if len(text) > maxStatus {
		return nil, fmt.Errorf("the controller's answer is longer than %d bytes: this is no status", maxStatus)
	}
	var status traffic.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return nil, fmt.Errorf("the answer is not the status of a controller: %w: look whether the port is that of its metrics", err)
	}
	if status.Cluster == "" {
		return nil, errors.New("the answer is not the status of a controller, since cluster is empty: look whether the port is that of its metrics")
	}
	return &status, nil
}

// askCluster asks the leader in a cluster.
func (o statusOptions) askCluster(ctx context.Context, name string) (*traffic.Status, error) {
	config, namespace, err := kubeconfig(o.kubeconfig, name)
	if err != nil {
		return nil, err
	}
	namespace = cmp.Or(o.namespace, namespace)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	pods, leased, err := leaders(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, pod := range pods {
		status, err := o.askPod(ctx, client, namespace, pod)
		if err == nil {
			return status, nil
		}
		if leased && podGone(err) {
			err = fmt.Errorf("the lease names pod %s/%s, which is gone: wait until another one leads; or name the namespace of the controller, where that is not the lease's; or, where it runs outside of the cluster, ask it with the flag url",
				namespace, pod)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// podGone tells whether there is no Pod to ask, other than one that does not know what it is asked.
func podGone(err error) bool {
	var refused apierrors.APIStatus
	if !errors.As(err, &refused) || !apierrors.IsNotFound(err) {
		return false
	}
	details := refused.Status().Details
	return details != nil && details.Kind == "pods" &&
		!slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
}

// leaders returns the Pod that leads, which the lease names, or, where there is no lease, or nobody holds it, those that may: the lease stays when leader election
// is switched off.
func leaders(ctx context.Context, client kubernetes.Interface, namespace string) (pods []string, leased bool, err error) {
	lease, err := client.CoordinationV1().Leases(namespace).Get(ctx, traffic.LeaseID, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		pods, err = labelled(ctx, client, namespace)
		if err == nil && len(pods) == 0 {
			err = fmt.Errorf("namespace %s has neither the lease %s nor a running pod with the label %s: name the controller's with the flag namespace", namespace, traffic.LeaseID, podSelector)
		}
		return pods, false, err
	case err != nil:
		return nil, false, fmt.Errorf("get lease %s/%s, which names the leader: %w", namespace, traffic.LeaseID, err)
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	pod, _, found := strings.Cut(holder, "_") // which is in no name of a Pod
	switch {
	case holder == "":
		pods, err = labelled(ctx, client, namespace)
		if err == nil && len(pods) == 0 {
			err = fmt.Errorf("lease %s/%s: nobody holds it: no controller leads now, look whether one runs", namespace, traffic.LeaseID)
		}
		return pods, false, err
	case !found || pod == "":
		return nil, false, fmt.Errorf("lease %s/%s: holderIdentity %q does not begin with the name of a Pod and _: ask the controller with the flag url", namespace, traffic.LeaseID, holder)
	}
	return []string{pod}, true, nil
}

// labelled returns the running Pods of a controller.
func labelled(ctx context.Context, client kubernetes.Interface, namespace string) ([]string, error) {
	list, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: podSelector})
	if err != nil {
		return nil, fmt.Errorf("list pods %s/* with label %s: %w", namespace, podSelector, err)
	}
	var names []string
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// askPod asks through the API server.
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-connect-proxy-path-portforward
func (o statusOptions) askPod(ctx context.Context, client kubernetes.Interface, namespace, pod string) (*traffic.Status, error) {
	body, err := client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").SubResource("proxy").
		Name(utilnet.JoinSchemeNamePort("", pod, strconv.Itoa(o.port))).Suffix(traffic.StatusPath).Stream(ctx)
	if err != nil {
		hint := ""
		var refused apierrors.APIStatus
		if errors.As(err, &refused) {
			hint = said(refused.Status()) + remedy(int(refused.Status().Code))
		}
		return nil, fmt.Errorf("ask pod %s/%s at port %d: %w%s", namespace, pod, o.port, err, hint)
	}
	defer func() { _ = body.Close() }() // it was only read
	status, err := decodeStatus(body)
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s at port %d: %w", namespace, pod, o.port, err)
	}
	return status, nil
}

// said returns what stood in an answer that was no Kubernetes object.
func said(status metav1.Status) string {
	if status.Details == nil {
		return ""
	}
	var all strings.Builder
	for _, cause := range status.Details.Causes {
		if cause.Type == metav1.CauseTypeUnexpectedServerResponse && cause.Message != "" && !strings.Contains(status.Message, cause.Message) {
			all.WriteString(": " + strings.TrimSpace(cause.Message))
		}
	}
	return all.String()
}

// follow shows the status at once, and again when it has changed, until ctx ends.
func (o statusOptions) follow(ctx context.Context, out screen, sources []statusSource, clock clock.Clock) error {
	before := ""
	for width := -1; ; {
		clusters := askAll(ctx, sources, o.timeout)
		if ctx.Err() != nil { // what was asked last was cut off
			return nil //nolint:nilerr // that is how a watch ends
		}
		columns := out.width()
		text, err := o.text(clusters, columns, clock.Now())
		if err != nil {
			return err
		}
		if columns != width || text != before {
			if err := o.redraw(out, text, before == ""); err != nil {
				return err
			}
			width, before = columns, text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-clock.After(o.interval):
		}
	}
}

func (o statusOptions) redraw(out screen, text string, first bool) error {
	between := "\n"
	switch {
	case o.output == "json" || first && !out.redraw:
		between = ""
	case out.redraw:
		between = clearScreen
	}
	return write(out, between+text)
}

func write(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}

// text is the status as it is at a time.
func (o statusOptions) text(clusters []clusterStatus, width int, now time.Time) (string, error) {
	if o.output != "json" {
		return fit(table(clusters, now), width), nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // it is read by people too
	if err := encoder.Encode(map[string]any{"clusters": clusters}); err != nil {
		return "", fmt.Errorf("encode the status: %w", err)
	}
	return b.String(), nil
}
