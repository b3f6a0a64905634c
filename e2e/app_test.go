package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/e2e/internal/process"
	"github.com/penstock-dev/penstock/e2e/internal/table"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	exampleworld "github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// Times of the tests. Skipper's default is a poll in 3 s, Route 53's usual a minute, and a usual TTL another.
const (
	poll           = time.Second
	settle         = poll + 3*time.Second // as much more than the poll as by default, for what delays a Skipper does not depend on how often it reads
	syncDelay      = time.Second
	ttl            = 2 * time.Second
	requestTimeout = 5 * time.Second

	name    = "app" // of the Deployment, the Service, the Ingress and the Canary
	primary = "app-primary"
	next    = "app-canary" // the prepared Ingress, by a name that Flagger's queries know
	version = "v1"
	release = "v2"
)

// setup says what an application is like.
type setup struct {
	provider string
	backend  string         // externaldns or route53
	program  string         // the Flagger; ours if empty
	split    bool           // by DNS, between two load balancers
	publish  string         // who publishes: the router, or a traffic controller if it is "controller"
	weights  map[string]int // of the clusters; one with weight 100 if nil
	table    *table.Table   // the traffic controllers' store; a ConfigMap of each cluster if nil
	change   func(*flaggerv1.Canary)
	steps    bool // a canary stays at each weight until its share can be judged
	matches  bool // it is an A/B test, whose condition the clients do not meet
	patient  bool // it mostly waits
}

// app is an application in one cluster or more, with clients.
type app struct {
	t         *testing.T
	setup     setup
	namespace string
	host      string
	zone      string
	route53   *route53emulator.Server
	zoneID    string
	sites     map[string]*site
	changes   changes // of the zone
	recorder  *traffic.Recorder
	clients   *traffic.Clients
	figures   *figures
}

// site is an application in one cluster.
type site struct {
	*cluster.Cluster
	app     *app
	gateway *gateway.Gateway // to the API, for Flagger and external-dns
	flagger *process.Process
	// controllers are the replicas of the traffic controller, of which there are none where the routers publish by themselves.
	controllers []*process.Process
	way         *way // of the controllers to the table; nil without one
	// externalDNS is nil where the routers publish by themselves.
	externalDNS *process.Process
	skippers    [2]atomic.Pointer[exampleworld.Skipper]
	env         []string // of Flagger, beside what the setup says
	log         *os.File

	addresses [2]netip.Addr // of the load balancers: of the apex Ingress, and of the prepared one
	listeners map[netip.Addr]string
	history   *history
	slack     *slack
}

// slack counts the alerts that people would get.
type slack struct {
	url string

	mu     sync.Mutex // guards the following
	alerts []string
}

func (s *site) startSlack() {
	t := s.app.t
	t.Helper()
	s.slack = &slack{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read an alert: %v", err)
		}
		s.slack.mu.Lock()
		defer s.slack.mu.Unlock()
		s.slack.alerts = append(s.slack.alerts, string(text))
	}))
	t.Cleanup(server.Close)
	s.slack.url = server.URL
}

// alerts returns the alerts that have a word in them.
func (s *site) alerts(word string) []string {
	s.slack.mu.Lock()
	defer s.slack.mu.Unlock()
	var found []string
	for _, alert := range s.slack.alerts {
		if strings.Contains(alert, word) {
			found = append(found, alert)
		}
	}
	return found
}

// newApp starts an application with its clients, and waits until its Canaries are Initialized. Everything ends with the test.
func newApp(t *testing.T, s setup) *app {
	t.Helper()
	a := prepareApp(t, s)
	a.start()
	return a
}

// prepareApp starts an application without clients, when there is room for it.
func prepareApp(t *testing.T, s setup) *app {
	t.Helper()
	if s.backend != "externaldns" && !s.patient { // external-dns mostly waits for name servers, and so takes longest
		world.room <- struct{}{}
		t.Cleanup(func() { <-world.room })
	}
	if s.weights == nil {
		s.weights = map[string]int{"east": 100}
	}
	a := &app{
		t: t, setup: s, namespace: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())),
		sites: map[string]*site{}, recorder: &traffic.Recorder{}, figures: newFigures(t),
	}
	a.zone = a.namespace + ".test"
	a.host = "www." + a.zone
	for cluster := range s.weights {
		a.sites[cluster] = a.newSite(cluster)
	}
	a.startRoute53()
	t.Cleanup(world.metrics.Register(a.recorder))
	for _, site := range a.sites {
		site.deploy()
		site.writeKubeconfig()
		site.startSlack()
		site.startFlagger()
		if s.publish == controller {
			site.controllers = append(site.controllers, site.startController())
		}
		if s.backend == "externaldns" {
			site.startExternalDNS()
		}
	}
	return a
}

// start waits until the Canaries are Initialized, and starts the clients.
func (a *app) start() {
	a.t.Helper()
	for _, site := range a.sites {
		site.wait("the Canary is Initialized", 2*time.Minute, site.phase(flaggerv1.CanaryPhaseInitialized))
	}
	for _, site := range a.sites {
		site.wait("the host is in DNS", 3*time.Minute, a.resolves)
	}
	<-time.After(2 * syncDelay) // what Route 53 has accepted is not answered at once
	a.startClients()
}

func (a *app) newSite(cluster string) *site {
	a.t.Helper()
	s := &site{Cluster: world.clusters[cluster], app: a, listeners: map[netip.Addr]string{}}
	third := byte(slices.Index(clusterNames, cluster))
	s.addresses = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 10 + third}), netip.AddrFrom4([4]byte{192, 0, 2, 20 + third})}
	var err error
	if s.gateway, err = gateway.New(a.t.Context(), s.Config); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(s.gateway.Close)
	s.startSkipper(0)
	if a.setup.split {
		s.startSkipper(1)
	}
	return s
}

// class is that of the Ingresses behind one of the load balancers.
func (s *site) class(lb int) string { return fmt.Sprintf("%s-%d", s.app.namespace, lb) }

// startSkipper starts one of the load balancers.
func (s *site) startSkipper(lb int) {
	t := s.app.t
	t.Helper()
	s.restartSkipper(lb)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.skippers[lb].Load().ServeHTTP(w, r) })
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // it ends with ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = server.Close() // connections that are closed twice are no harm
		<-ended
	})
	s.listeners[s.addresses[lb]] = listener.Addr().String()
}

// restartSkipper puts a fresh Skipper in the place of the one behind a load balancer, as a rolling update does.
func (s *site) restartSkipper(lb int) {
	t := s.app.t
	t.Helper()
	skipper, err := exampleworld.NewSkipper(t.Context(), s.Plain.URL, s.class(lb), exampleworld.Options{
		Poll: poll, Transport: s.Node.Transport, Routes: true, Namespace: s.app.namespace,
	})
	must(t, err)
	t.Cleanup(skipper.Close) // the one before has requests under way, so all end with the test
	s.skippers[lb].Store(skipper)
}

// dir is the folder of the site's programs.
func (s *site) dir() string { return filepath.Join(world.logs, s.app.namespace+"-"+s.Name) }

// writeKubeconfig writes one that leads through the gateway.
func (s *site) writeKubeconfig() {
	t := s.app.t
	t.Helper()
	if err := os.MkdirAll(s.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["gateway"] = &clientcmdapi.Cluster{Server: s.gateway.URL}
	config.Contexts["gateway"] = &clientcmdapi.Context{Cluster: "gateway"}
	config.CurrentContext = "gateway"
	if err := clientcmd.WriteToFile(*config, s.kubeconfig()); err != nil {
		t.Fatal(err)
	}
}

func (s *site) kubeconfig() string { return filepath.Join(s.dir(), "kubeconfig") }

// openLog opens the log of a program, and shows its end when the test has failed.
func (s *site) openLog(program string) *os.File {
	t := s.app.t
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir(), program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = log.Close() // it is only read from now on
		if t.Failed() {
			s.dump(log.Name())
		}
	})
	return log
}

// awsEnv leads to the application's Route 53.
func (s *site) awsEnv() []string {
	return []string{
		"AWS_ENDPOINT_URL_ROUTE_53=" + s.app.route53.Endpoint(), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + s.Name, "AWS_SECRET_ACCESS_KEY=secret",
	}
}

// startFlagger starts Flagger for the application's namespace.
func (s *site) startFlagger() {
	t := s.app.t
	t.Helper()
	if s.log == nil {
		s.log = s.openLog("flagger")
		t.Cleanup(s.stopFlagger)
	}
	env := slices.Concat(s.awsEnv(), []string{
		"PENSTOCK_CLUSTER_NAME=" + s.Name, fmt.Sprintf("PENSTOCK_CLUSTER_WEIGHT=%d", s.app.setup.weights[s.Name]),
		"PENSTOCK_DNS_BACKEND=" + s.app.setup.backend, "PENSTOCK_HOST_TTL=" + ttl.String(), "PENSTOCK_INNER_TTL=" + ttl.String(),
		"PENSTOCK_SKIPPER_POLL=" + poll.String(), "PENSTOCK_SETTLE=" + settle.String(), "PENSTOCK_DNS_RESOLVERS=" + s.app.route53.NameServers()[0], "PENSTOCK_ROUTE53_RATE=20",
		"PENSTOCK_CLUSTER_PUBLISHER=" + s.app.setup.publish,
	}, s.env)
	p, err := process.Start(process.Options{Env: env, Log: s.log}, program(cmp.Or(s.app.setup.program, "flagger")),
		"-kubeconfig", s.kubeconfig(), "-namespace", s.app.namespace, "-metrics-server", world.metrics.URL(s.Name),
		"-control-loop-interval", "1s", "-port", freePort(t), "-log-level", "info", "-zap-encoding", "console", "-enable-config-tracking=false",
		"-slack-url", s.slack.url, "-slack-user", "flagger", "-slack-channel", "alerts")
	if err != nil {
		t.Fatal(err)
	}
	s.flagger = p
}

// startExternalDNS starts external-dns for the application's namespace.
func (s *site) startExternalDNS(more ...string) {
	t := s.app.t
	t.Helper()
	args := append([]string{
		"--kubeconfig=" + s.kubeconfig(), "--namespace=" + s.app.namespace, "--source=crd", "--provider=aws", "--policy=sync", "--registry=txt", "--txt-owner-id=" + s.Name,
		"--domain-filter=" + s.app.zone, "--interval=2s", "--min-event-sync-interval=1s", "--aws-batch-change-interval=100ms", "--metrics-address=127.0.0.1:" + freePort(t),
		"--managed-record-types=A", "--managed-record-types=AAAA", "--managed-record-types=CNAME",
	}, more...)
	p, err := process.Start(process.Options{Env: s.awsEnv(), Log: s.openLog("external-dns")}, program("external-dns"), args...)
	must(t, err)
	t.Cleanup(p.Kill)
	s.externalDNS = p
}

func (s *site) stopFlagger() {
	if s.flagger != nil {
		s.flagger.Kill()
	}
}

// firstPort and ports are those for programs, below what the kernel gives to whoever asks for any port.
// https://docs.kernel.org/networking/ip-sysctl.html#ip-variables
const firstPort, ports = 12000, 20000

// freePort returns a port that nobody listens on, to each caller another one. Flagger takes no listener, and ends when somebody else was faster.
func freePort(t *testing.T) string {
	t.Helper()
	for range ports {
		port := strconv.Itoa(firstPort + int(world.port.Add(1))%ports)
		if listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":"+port); err == nil {
			_ = listener.Close() // it was open a moment
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// dump shows what Flagger had to say.
func (s *site) dump(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		s.app.t.Log(err)
		return
	}
	lines := strings.Split(string(text), "\n")
	s.app.t.Logf("the last lines of %s:\n%s", path, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}

// startClients lets clients work until the test ends.
func (a *app) startClients() {
	a.t.Helper()
	a.clients = &traffic.Clients{
		Host: a.host, Server: a.route53.NameServers()[0], Dial: map[netip.Addr]string{}, Recorder: a.recorder,
		Samplers: 7, Users: 2, Pause: 150 * time.Millisecond,
	}
	for _, s := range a.sites {
		maps.Copy(a.clients.Dial, s.listeners)
	}
	ctx, stop := context.WithCancel(a.t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.clients.Run(ctx) })
	a.t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// wait returns when a condition holds, and fails the test if it does not in time.
func (s *site) wait(what string, patience time.Duration, condition func() bool) {
	s.app.t.Helper()
	s.app.wait("in cluster "+s.Name+" "+what, patience, condition)
}

func (a *app) wait(what string, patience time.Duration, condition func() bool) {
	t := a.t
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			for _, s := range a.sites {
				t.Logf("cluster %s: the canary is %+v", s.Name, s.history.last())
			}
			t.Fatalf("after %s it is not true that %s", patience, what)
		case <-t.Context().Done():
			t.FailNow()
		}
	}
}

// phase returns a condition: the Canary is in one of the phases.
func (s *site) phase(phases ...flaggerv1.CanaryPhase) func() bool {
	return func() bool { return slices.Contains(phases, s.history.last().phase) }
}
