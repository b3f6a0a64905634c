package traffic

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
)

// LeaseID is the name of the Lease that leaders hold. It is that of the controller which this one replaces, so that the two never lead at once.
const LeaseID = "a5568bf5.dns.adevinta.com"

// The stores.
const (
	StoreFake      = "fake"
	StoreConfigMap = "configmap"
	StoreDynamoDB  = "dynamoDB"
)

// The backends.
const (
	BackendExternalDNS = "externaldns"
	BackendRoute53     = "route53"
)

// Options are the flags of `penstock controller`. [Options.AddFlags] sets the defaults, [Options.Complete] checks them.
type Options struct {
	MetricsAddr string
	HealthAddr  string
	LogLevel    string

	ClusterName      string
	BindingDomain    string
	AnnotationFilter string
	AnnotationPrefix string
	HealthCheckID    string
	SolePublisher    bool
	DevMode          bool

	Store         string // one of the Store constants
	InitialWeight int
	PollInterval  time.Duration
	AWSRegion     string
	TableName     string
	Namespace     string // of the ConfigMap; empty is that of the Pod
	ConfigMap     string

	LeaderElection          bool
	LeaderElectionNamespace string // empty is that of the Pod

	Backend            string // one of the Backend constants
	Resolvers          []string
	AssumeSyncAfter    time.Duration
	HostTTL            time.Duration
	InnerTTL           time.Duration
	Route53Zones       []string
	Route53AdoptOwner  string
	Route53AdoptOrigin string
	Route53TXTPrefix   string
	Route53TXTSuffix   string
	Route53TXTWildcard string
	Route53Rate        float64
	KubeAPIQPS         float64
	KubeAPIBurst       int
	Ramp               ramp.Options
	RampQuery          string
	RampQueryMin       *float64
	RampQueryMax       *float64
	PrometheusURL      string
	RampHealthCheck    bool
	RampReady          int
	clock              clock.Clock
	lease              *lease // nil without leader election
	filter             filter
	origin             string // of the cluster; empty where no backend compares it
}

// AddFlags adds the flags to a set, with their defaults.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.MetricsAddr, "metrics-addr", ":8080", "`address` of the metrics")
	flags.StringVar(&o.HealthAddr, "health-addr", ":8081", "`address` of /healthz and /readyz")
	flags.StringVar(&o.LogLevel, "log-level", "info", "`level` of what is logged: debug, info, warn or error")

	flags.StringVar(&o.ClusterName, "cluster-name", "", "`name` of the cluster: the key of its row, and the set identifier of its records")
	flags.StringVar(&o.BindingDomain, "binding-domain", "", "`domain` that hosts must be or be in; empty is any")
	flags.StringVar(&o.AnnotationFilter, "annotation-filter", "", "`key=value` that an Ingress must have as an annotation; empty is any")
	flags.StringVar(&o.AnnotationPrefix, "annotation-prefix", dns.DefaultAnnotationPrefix, "`prefix` of the annotation traffic-weight")
	flags.StringVar(&o.HealthCheckID, "aws-health-check-id", "", "`id` of the Route 53 health check of the records; the store's HealthCheckID comes first")
	flags.BoolVar(&o.SolePublisher, "sole-publisher", false, "withdraw records of Ingresses that annotation-filter and binding-domain leave out; otherwise they stay, since another publisher of the cluster may have written them")
	flags.BoolVar(&o.DevMode, "dev-mode", false, "let all records lead to "+devTarget+", whatever the load balancers are")

	flags.StringVar(&o.Store, "backend-type", StoreFake, "`store` of the weight: fake (the flag initial-weight), configmap or dynamoDB")
	flags.IntVar(&o.InitialWeight, "initial-weight", 0, "DesiredWeight of a row that does not exist yet, in `per cent`")
	flags.DurationVar(&o.PollInterval, "poll-interval", 20*time.Second, "how `long` until the store is read again")
	flags.StringVar(&o.AWSRegion, "aws-region", "eu-west-1", "`region` of the DynamoDB table")
	flags.StringVar(&o.TableName, "table-name", "traffic-controller", "`name` of the DynamoDB table")
	flags.StringVar(&o.Namespace, "namespace", "", "`namespace` of the ConfigMap with the weight; empty is the Pod's")
	flags.StringVar(&o.ConfigMap, "configmap", "penstock-traffic", "`name` of the ConfigMap with the weight")

	flags.BoolVar(&o.LeaderElection, "enable-leader-election", false, "let one of several replicas lead, which alone writes")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the Lease; empty is the Pod's")

	flags.StringVar(&o.Backend, "dns-backend", BackendExternalDNS, "how records are written: `externaldns` (DNSEndpoint objects) or route53 (the API, where everything is compared every 5 minutes)")
	flags.Func("dns-resolvers", "externaldns: name `servers` (address:port, separated by commas) that are asked whether a change is in sync; empty is the zone's own",
		listOf(&o.Resolvers))
	flags.DurationVar(&o.AssumeSyncAfter, "assume-sync-after", 0, "externaldns, where DNS cannot be asked: the `time` after which a change is assumed to be in sync, which never acknowledges it")
	flags.DurationVar(&o.HostTTL, "host-ttl", 0, "`TTL` of the hosts' records, the same in all clusters; 0 is the backend's, 300 s; at an AWS load balancer it is 60 s, whatever is set")
	flags.DurationVar(&o.InnerTTL, "inner-ttl", dns.DefaultInnerTTL, "`TTL` of the records below a host; at an AWS load balancer it is 60 s, whatever is set")
	flags.Func("route53-zones", "route53: `ids` of the hosted zones, separated by commas; empty is all public ones that the credentials see", listOf(&o.Route53Zones))
	flags.StringVar(&o.Route53AdoptOwner, "route53-adopt-owner", "", "route53: owner `id` (--txt-owner-id) of an external-dns whose records may be taken over")
	flags.StringVar(&o.Route53TXTPrefix, "route53-adopt-txt-prefix", "", "route53: --txt-`prefix` of that external-dns")
	flags.StringVar(&o.Route53TXTSuffix, "route53-adopt-txt-suffix", "", "route53: --txt-`suffix` of that external-dns")
	flags.StringVar(&o.Route53TXTWildcard, "route53-adopt-txt-wildcard", "", "route53: --txt-wildcard-`replacement` of that external-dns")
	flags.StringVar(&o.Route53AdoptOrigin, "route53-adopt-origin", "", "route53: `origin` (UID of the namespace kube-system) of a cluster that had this name and is gone, whose records may be taken over")
	flags.Float64Var(&o.Route53Rate, "route53-rate", 4, "route53: `requests` a second; an AWS account has 10 for all that use it")
	flags.Float64Var(&o.KubeAPIQPS, "kube-api-qps", 50, "`requests` a second to the Kubernetes API; negative is as many as there are")
	flags.IntVar(&o.KubeAPIBurst, "kube-api-burst", 100, "`requests` to the Kubernetes API at once")

	flags.IntVar(&o.Ramp.Step, "ramp-step", 0, "per cent `points` of one step of a gradual move; 0 moves at once")
	flags.DurationVar(&o.Ramp.Interval, "ramp-interval", time.Minute, "least `time` for which a step is effective before the next one")
	flags.IntVar(&o.Ramp.Failures, "ramp-failures", 5, "`refusals` of gates in a row after which a move goes back")
	flags.StringVar(&o.RampQuery, "ramp-query", "", "gate: PromQL `query` whose values must be in the range")
	flags.Func("ramp-query-min", "gate: the least `value` of the query", number(&o.RampQueryMin))
	flags.Func("ramp-query-max", "gate: the largest `value` of the query", number(&o.RampQueryMax))
	flags.StringVar(&o.PrometheusURL, "prometheus-url", "", "`URL` of the Prometheus that answers the query")
	flags.BoolVar(&o.RampHealthCheck, "ramp-health-check", false, "gate: the Route 53 health check must be healthy before the weight rises")
	flags.IntVar(&o.RampReady, "ramp-ready", 0, "gate: `per cent` of the hosts that must have ready endpoints before the weight rises; 0 asks nothing")
}

func listOf(into *[]string) func(string) error {
	return func(value string) error {
		*into = nil
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*into = append(*into, item)
			}
		}
		return nil
	}
}

func number(into **float64) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(n) {
			return errors.New("write a number")
		}
		*into = &n
		return nil
	}
}

// Complete checks the options, and fills in what follows from them. All that is wrong is in the error.
func (o *Options) Complete() error {
	o.clock = cmp.Or[clock.Clock](o.clock, clock.RealClock{})
	var errs []error
	wrong := func(flag string, value any, remedy string) {
		errs = append(errs, fmt.Errorf("flag %s %q: %s", flag, fmt.Sprint(value), remedy))
	}
	if o.ClusterName == "" || len(o.ClusterName) > 128 || strings.ContainsFunc(o.ClusterName, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		wrong("cluster-name", o.ClusterName, "name the cluster as in its row, in 1 to 128 characters without spaces; no other cluster may have the name")
	}
	for _, a := range []struct{ flag, address, such string }{{"metrics-addr", o.MetricsAddr, ":8080"}, {"health-addr", o.HealthAddr, ":8081"}} {
		if !listenable(a.address) {
			wrong(a.flag, a.address, "write host:port, such as "+a.such+", or 0 for none")
		}
	}
	var err error
	if o.filter, err = newFilter(o.AnnotationFilter, o.BindingDomain, o.DevMode); err != nil {
		errs = append(errs, err)
	}
	if bad := validation.IsDNS1123Subdomain(o.AnnotationPrefix); len(bad) > 0 {
		wrong("annotation-prefix", o.AnnotationPrefix, "write the part of the annotation before the slash, such as "+dns.DefaultAnnotationPrefix)
	}
	switch {
	case strings.EqualFold(o.Store, StoreDynamoDB):
		o.Store = StoreDynamoDB
		if o.TableName == "" {
			wrong("table-name", o.TableName, "name the DynamoDB table")
		}
		if o.AWSRegion == "" {
			wrong("aws-region", o.AWSRegion, "name the region of the DynamoDB table")
		}
	case o.Store != StoreFake && o.Store != StoreConfigMap:
		wrong("backend-type", o.Store, "write fake, configmap or dynamoDB")
	}
	if o.InitialWeight < 0 {
		wrong("initial-weight", o.InitialWeight, "write a weight from 0 to 100")
	}
	if o.PollInterval < time.Second {
		wrong("poll-interval", o.PollInterval, "write at least 1s")
	}
	o.checkDNS(wrong)
	o.checkRamp(wrong)
	if o.KubeAPIQPS == 0 || math.IsNaN(o.KubeAPIQPS) {
		wrong("kube-api-qps", o.KubeAPIQPS, "write requests a second, or a negative number for as many as there are")
	}
	if o.KubeAPIBurst < 1 {
		wrong("kube-api-burst", o.KubeAPIBurst, "write at least 1")
	}
	return errors.Join(errs...)
}

// listenable tells whether a server of controller-runtime takes an address: empty is its default, and 0 none.
func listenable(address string) bool {
	if address == "" || address == "0" {
		return true
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (o *Options) checkDNS(wrong func(flag string, value any, remedy string)) {
	if o.Backend != BackendExternalDNS && o.Backend != BackendRoute53 {
		wrong("dns-backend", o.Backend, "write externaldns or route53")
	}
	for _, server := range o.Resolvers {
		if at, err := netip.ParseAddrPort(server); err != nil || at.Port() == 0 {
			wrong("dns-resolvers", server, "write addresses with ports such as 192.0.2.53:53, separated by commas")
		}
	}
	if o.AssumeSyncAfter != 0 && len(o.Resolvers) > 0 {
		wrong("assume-sync-after", o.AssumeSyncAfter, "either DNS is asked, as with dns-resolvers, or it is not; remove one")
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		least time.Duration
	}{{"assume-sync-after", o.AssumeSyncAfter, 0}, {"host-ttl", o.HostTTL, 0}, {"inner-ttl", o.InnerTTL, time.Second}} {
		if d.value < d.least || d.value > 24*time.Hour || d.value%time.Second != 0 {
			wrong(d.flag, d.value, fmt.Sprintf("write whole seconds from %s to 24h", d.least))
		}
	}
	if !(o.Route53Rate >= 0.1 && o.Route53Rate <= 100) {
		wrong("route53-rate", o.Route53Rate, "write a number from 0.1 to 100")
	}
}

func (o *Options) checkRamp(wrong func(flag string, value any, remedy string)) {
	if o.Ramp.Step < 0 || o.Ramp.Step > 100 {
		wrong("ramp-step", o.Ramp.Step, "write per cent points from 1 to 100, or 0 to move at once")
	}
	if o.Ramp.Interval < time.Second {
		wrong("ramp-interval", o.Ramp.Interval, "write at least 1s")
	}
	if o.Ramp.Failures < 1 {
		wrong("ramp-failures", o.Ramp.Failures, "write at least 1")
	}
	if o.RampReady < 0 || o.RampReady > 100 {
		wrong("ramp-ready", o.RampReady, "write per cent from 1 to 100, or 0 to ask nothing")
	}
	if o.Ramp.Step > 0 && o.Store == StoreFake {
		wrong("ramp-step", o.Ramp.Step, "a gradual move must be stored to outlast a restart: use backend-type configmap or dynamoDB, or move at once with 0")
	}
	if o.Ramp.Step > 0 && o.AssumeSyncAfter != 0 {
		wrong("ramp-step", o.Ramp.Step, "a step waits until DNS answers with the one before, which is not asked with assume-sync-after: remove that, or move at once with 0")
	}
	gated := o.RampQuery != "" || o.RampHealthCheck || o.RampReady > 0
	if gated && o.Ramp.Step == 0 {
		wrong("ramp-step", o.Ramp.Step, "gates are asked between steps: write a step, or remove the gates")
	}
	if _, err := o.query(); err != nil {
		wrong("ramp-query", o.RampQuery, err.Error())
	}
	if o.RampQuery == "" && (o.RampQueryMin != nil || o.RampQueryMax != nil) {
		wrong("ramp-query", o.RampQuery, "ramp-query-min and ramp-query-max are about a query: write one")
	}
}

// query returns the gate that asks Prometheus, nil without one.
func (o *Options) query() (ramp.Gate, error) {
	if o.RampQuery == "" {
		return nil, nil //nolint:nilnil // gates are optional
	}
	return ramp.NewQuery(ramp.QueryOptions{Address: o.PrometheusURL, Query: o.RampQuery, Min: o.RampQueryMin, Max: o.RampQueryMax})
}

// route53 returns the options of the backend with that name.
func (o *Options) route53() route53.Options {
	return route53.Options{
		Zones: o.Route53Zones, AdoptExternalDNS: o.Route53AdoptOwner, TXTPrefix: o.Route53TXTPrefix, TXTSuffix: o.Route53TXTSuffix,
		TXTWildcardReplacement: o.Route53TXTWildcard, Origin: o.origin, AdoptOrigin: o.Route53AdoptOrigin, Rate: rate.Limit(o.Route53Rate),
	}
}

// steerTimeout bounds one round with the store and the gates.
func (o *Options) steerTimeout() time.Duration { return max(o.PollInterval, 30*time.Second) }
