package router

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/weights"
)

// Variable is an environment variable that [For] reads. An empty value is the same as none.
type Variable struct {
	Name    string
	Default string // as people write it; empty means none
	Meaning string
}

// Variables returns the environment variables that [For] reads.
func Variables() []Variable {
	all := make([]Variable, len(variables))
	for i, v := range variables {
		all[i] = v.Variable
	}
	return all
}

// The values of PENSTOCK_CLUSTER_PUBLISHER and PENSTOCK_DNS_BACKEND.
const (
	publisherRouter     = "router"
	publisherController = "controller"
	backendExternalDNS  = "externaldns"
	backendRoute53      = "route53"
)

// config is what the environment says about one cluster.
type config struct {
	cluster     string
	weight      weights.Percent
	publisher   string
	backend     string
	resolvers   []string
	assumeAfter time.Duration
	dns         dns.PublisherOptions
	route53     route53.Options
	skipper     SkipperOptions

	// skipperErr and dnsErr are what is wrong for the providers skipper and dns-weighted.
	skipperErr, dnsErr error
}

// variable is a Variable and what its value does.
type variable struct {
	Variable
	skipper bool // the provider skipper needs it too
	set     func(c *config, value string) error
}

var variables = []variable{
	{
		Variable: Variable{"PENSTOCK_CLUSTER_NAME", "", "name of the cluster, the set identifier of its records; needed by dns-weighted where the router publishes"},
		set: func(c *config, v string) error {
			if strings.ContainsFunc(v, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
				return errors.New("write a name without spaces and control characters, because the record of another name is another record")
			}
			c.cluster = v
			return nil
		},
	},
	{
		Variable: Variable{"PENSTOCK_CLUSTER_WEIGHT", "100", "weight of the cluster, 0 to 100, relative to that of the other clusters under a host"},
		set: func(c *config, v string) (err error) {
			if c.weight, err = weights.ParsePercent(v); err != nil {
				return errors.New("write a percentage from 0 to 100 such as 18.75, in digits alone")
			}
			return nil
		},
	},
	{
		Variable: Variable{"PENSTOCK_CLUSTER_PUBLISHER", publisherRouter, "who writes the cluster's records: router, or controller where a traffic controller runs"},
		set:      func(c *config, v string) error { return oneOf(&c.publisher, v, publisherRouter, publisherController) },
	},
	{
		Variable: Variable{"PENSTOCK_DNS_BACKEND", backendExternalDNS, "how records are written: externaldns (DNSEndpoint objects) or route53 (the API)"},
		set:      func(c *config, v string) error { return oneOf(&c.backend, v, backendExternalDNS, backendRoute53) },
	},
	{
		Variable: Variable{"PENSTOCK_ANNOTATION_PREFIX", dns.DefaultAnnotationPrefix, "prefix of the annotation traffic-weight on Ingresses"},
		set: func(c *config, v string) error {
			if errs := validation.IsDNS1123Subdomain(v); len(errs) > 0 {
				return fmt.Errorf("write the part of the annotation before the slash, such as %s: %s", dns.DefaultAnnotationPrefix, strings.Join(errs, "; "))
			}
			c.dns.AnnotationPrefix = v
			return nil
		},
	},
	{
		Variable: Variable{"PENSTOCK_HEALTH_CHECK_ID", "", "Route 53 health check of the cluster's load balancers"},
		set:      func(c *config, v string) error { c.dns.HealthCheckID = v; return nil },
	},
	{
		Variable: Variable{"PENSTOCK_HOST_TTL", "", "TTL of a host's record, the same in all clusters; unset it is the backend's, 300 s; at an AWS load balancer it is 60 s, whatever is set"},
		set:      func(c *config, v string) error { return duration(&c.dns.HostTTL, v, time.Second) },
	},
	{
		Variable: Variable{"PENSTOCK_INNER_TTL", "30s", "TTL of the inner records of a canary, which each of its steps waits for; at an AWS load balancer it is 60 s, whatever is set"},
		set:      func(c *config, v string) error { return duration(&c.dns.InnerTTL, v, time.Second) },
	},
	{
		Variable: Variable{"PENSTOCK_DNS_RESOLVERS", "", "externaldns: name servers (address:port, separated by commas) that are asked whether a change is in sync; unset, the zone's own are"},
		set:      func(c *config, v string) error { return servers(&c.resolvers, v) },
	},
	{
		Variable: Variable{"PENSTOCK_ASSUME_SYNC_AFTER", "", "externaldns, where DNS cannot be asked: a change is assumed to be in sync after this time"},
		set:      func(c *config, v string) error { return duration(&c.assumeAfter, v, time.Second) },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_ZONES", "", "route53: ids of the hosted zones to use, separated by commas; unset, all public ones that the credentials see"},
		set:      func(c *config, v string) error { return list(&c.route53.Zones, v) },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_ADOPT_OWNER", "", "route53: owner id (--txt-owner-id) of an external-dns whose records may be taken over"},
		set:      func(c *config, v string) error { c.route53.AdoptExternalDNS = v; return nil },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_ADOPT_TXT_PREFIX", "", "route53: --txt-prefix of that external-dns"},
		set:      func(c *config, v string) error { c.route53.TXTPrefix = v; return nil },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_ADOPT_TXT_SUFFIX", "", "route53: --txt-suffix of that external-dns"},
		set:      func(c *config, v string) error { c.route53.TXTSuffix = v; return nil },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_ADOPT_TXT_WILDCARD", "", "route53: --txt-wildcard-replacement of that external-dns"},
		set:      func(c *config, v string) error { c.route53.TXTWildcardReplacement = v; return nil },
	},
	{
		Variable: Variable{"PENSTOCK_ROUTE53_RATE", "4", "route53: requests a second; an AWS account has 10 for all that use it"},
		set: func(c *config, v string) error {
			r, err := strconv.ParseFloat(v, 64)
			if err != nil || !(r >= 0.1 && r <= 100) {
				return errors.New("write a number from 0.1 to 100 such as 4")
			}
			c.route53.Rate = rate.Limit(r)
			return nil
		},
	},
	{
		Variable: Variable{"PENSTOCK_SKIPPER_POLL", "3s", "how often Skipper reads Ingresses: its flag -source-poll-timeout"},
		skipper:  true,
		set:      func(c *config, v string) error { return duration(&c.skipper.PollInterval, v, time.Millisecond) },
	},
	{
		Variable: Variable{"PENSTOCK_SETTLE", "twice PENSTOCK_SKIPPER_POLL", "how long a change of routes takes to reach every Skipper"},
		skipper:  true,
		set:      func(c *config, v string) error { return duration(&c.skipper.Settle, v, time.Millisecond) },
	},
	{
		Variable: Variable{"PENSTOCK_SKIPPER_SYNC_KEYS", "", "annotations and labels that generated Ingresses get too, separated by commas; one that ends in / is a prefix"},
		skipper:  true,
		set:      func(c *config, v string) error { return list(&c.skipper.SyncKeys, v) },
	},
}

// readConfig reads the environment through lookup, which returns an empty text for what is not set.
func readConfig(lookup func(name string) string) config {
	c := config{weight: weights.Hundred, publisher: publisherRouter, backend: backendExternalDNS}
	for _, v := range variables {
		value := lookup(v.Name)
		if value == "" {
			continue
		}
		if err := v.set(&c, value); err != nil {
			err = fmt.Errorf("environment variable %s %q: %w", v.Name, value, err)
			c.dnsErr = errors.Join(c.dnsErr, err)
			if v.skipper {
				c.skipperErr = errors.Join(c.skipperErr, err)
			}
		}
	}
	if s := c.skipper; s.Settle > 0 && s.Settle < cmp.Or(s.PollInterval, defaultPollInterval) {
		err := fmt.Errorf("environment variable PENSTOCK_SETTLE %q is less than PENSTOCK_SKIPPER_POLL (%s): routes have not settled before every Skipper has read them; "+
			"write more, or leave it empty", lookup("PENSTOCK_SETTLE"), cmp.Or(s.PollInterval, defaultPollInterval))
		c.dnsErr, c.skipperErr = errors.Join(c.dnsErr, err), errors.Join(c.skipperErr, err)
	}
	if c.assumeAfter > 0 && len(c.resolvers) > 0 {
		c.dnsErr = errors.Join(c.dnsErr, errors.New("environment variables PENSTOCK_ASSUME_SYNC_AFTER and PENSTOCK_DNS_RESOLVERS: either DNS is asked or it is not; remove one"))
	}
	if c.cluster == "" && c.publisher == publisherRouter {
		c.dnsErr = errors.Join(c.dnsErr, fmt.Errorf("environment variable PENSTOCK_CLUSTER_NAME is empty: name the cluster, differently from every other one that serves the same hosts, "+
			"or set PENSTOCK_CLUSTER_PUBLISHER to %s if a traffic controller publishes", publisherController))
	}
	return c
}

func oneOf(into *string, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("write %s", strings.Join(allowed, " or "))
	}
	*into = value
	return nil
}

// maxDuration is longer than anybody waits, and short enough for a TTL.
const maxDuration = 24 * time.Hour

func duration(into *time.Duration, value string, least time.Duration) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > maxDuration || d%least != 0 {
		return fmt.Errorf("write a duration from %s to %s such as 60s, a multiple of %s", least, maxDuration, least)
	}
	*into = d
	return nil
}

// list splits at commas. Nothing between them is no list: it would mean what an unset variable means.
func list(into *[]string, value string) error {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		return errors.New("the list is empty: write items separated by commas, or unset the variable")
	}
	*into = items
	return nil
}

func servers(into *[]string, value string) error {
	var items []string
	if err := list(&items, value); err != nil {
		return err
	}
	for _, server := range items {
		if at, err := netip.ParseAddrPort(server); err != nil || at.Port() == 0 {
			return fmt.Errorf("%q is no name server: write addresses with ports such as 192.0.2.53:53, separated by commas", server)
		}
	}
	*into = items
	return nil
}
