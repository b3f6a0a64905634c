package route53emulator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// balancerTTL is the TTL with which Route 53 answers for an alias to a load balancer.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html
const balancerTTL = 60

// balancer is a load balancer that a test has registered. It is never changed; a new one replaces it.
type balancer struct {
	addresses []netip.Addr
	unhealthy bool
}

// balancerZones are the canonical hosted zones of load balancers by region: of Application and Classic Load Balancers,
// and of Network Load Balancers. https://docs.aws.amazon.com/general/latest/gr/elb.html
var balancerZones = map[string]struct{ application, network string }{
	"us-east-1":      {"Z35SXDOTRQ7X7K", "Z26RNL4JYFTOTI"},
	"us-east-2":      {"Z3AADJGX6KTTL2", "ZLMOA37VPKANP"},
	"us-west-1":      {"Z368ELLRRE2KJ0", "Z24FKFUX50B4VW"},
	"us-west-2":      {"Z1H1FL5HABSF5", "Z18D5FSROUN65G"},
	"ca-central-1":   {"ZQSVJUPU6J1EY", "Z2EPGBW3API2WT"},
	"eu-central-1":   {"Z215JYRZR1TBD5", "Z3F0SRJ5LGBH90"},
	"eu-north-1":     {"Z23TAZ6LKFMNIO", "Z1UDT6IFJ4EJM"},
	"eu-west-1":      {"Z32O12XQLNTSW2", "Z2IFOLAFXWLO4F"},
	"eu-west-2":      {"ZHURV8PSTC4K8", "ZD4D7Y8KGAS4G"},
	"eu-west-3":      {"Z3Q77PNBQS71R4", "Z1CMS0P5QUZ6D5"},
	"ap-northeast-1": {"Z14GRHDCWA56QT", "Z31USIVHYNEOWT"},
	"ap-south-1":     {"ZP97RAFLXTNZK", "ZVDDRBQ08TROA"},
	"ap-southeast-1": {"Z1LMS91P8CMLE5", "ZKVM4W9LS7TM"},
	"ap-southeast-2": {"Z1GM3OXH4ZPM65", "ZCT6FZBF4DROD"},
	"sa-east-1":      {"Z2P70J7HTTTPLU", "ZTK26PT1VY4CU"},
}

// SetLoadBalancer registers a load balancer, or replaces its addresses, for alias targets and for direct queries.
// The hostname is one of Elastic Load Balancing in a region that the emulator knows, such as
// "web-1.eu-west-1.elb.amazonaws.com" or "web-1.elb.eu-west-1.amazonaws.com". Without addresses it counts as unhealthy.
func (s *Server) SetLoadBalancer(hostname string, addresses ...string) error {
	n, err := parseName(hostname)
	if err != nil {
		return fmt.Errorf("load balancer: %w", err)
	}
	if _, ok := balancerZone(n); !ok {
		return fmt.Errorf("load balancer %q: the hostname is none of Elastic Load Balancing in a region that the emulator knows", hostname)
	}
	b := &balancer{unhealthy: len(addresses) == 0}
	for _, text := range addresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("load balancer %q: %w", hostname, err)
		}
		b.addresses = append(b.addresses, addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.balancers = with(s.balancers, undualstack(n), b)
	return nil
}

// SetLoadBalancerHealth says whether a registered load balancer has healthy targets, which matters to aliases that
// evaluate the health of their target.
func (s *Server) SetLoadBalancerHealth(hostname string, healthy bool) error {
	n, err := parseName(hostname)
	if err != nil {
		return fmt.Errorf("load balancer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := findBalancer(s.balancers, n)
	if old == nil {
		return fmt.Errorf("load balancer %q is not registered: call SetLoadBalancer first", hostname)
	}
	s.balancers = with(s.balancers, undualstack(n), &balancer{old.addresses, !healthy})
	return nil
}

// findBalancer also knows the name with the prefix "dualstack.", which each load balancer has.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-to-elb-load-balancer.html
func findBalancer(balancers map[name]*balancer, n name) *balancer {
	return balancers[undualstack(n)]
}

func undualstack(n name) name { return name(strings.TrimPrefix(string(n), "dualstack.")) }

// balancerZone returns the canonical hosted zone of a load balancer's hostname.
func balancerZone(n name) (zoneID string, ok bool) {
	labels := n.labels()
	if len(labels) < 5 || !slices.Equal(labels[len(labels)-2:], []string{"amazonaws", "com"}) {
		return "", false
	}
	a, b := labels[len(labels)-4], labels[len(labels)-3]
	switch {
	case b == "elb":
		zones, ok := balancerZones[a]
		return zones.application, ok
	case a == "elb":
		zones, ok := balancerZones[b]
		return zones.network, ok
	}
	return "", false
}

// checkBalancerAlias checks an alias whose target lies in another hosted zone, which can only be that of a load balancer: an
// alias cannot reference a record set in a hosted zone of another name.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html#Route53-Type-AliasTarget-HostedZoneId
func checkBalancerAlias(set *recordSet, balancers map[name]*balancer) error {
	target := set.alias
	zoneID, ok := balancerZone(target.name)
	switch {
	case !ok || zoneID != target.zoneID:
		return fmt.Errorf("alias target %s does not lie in hosted zone %s", target.name, target.zoneID)
	case set.recordType != "A" && set.recordType != "AAAA":
		return errors.New("an alias to a load balancer has the type A or AAAA")
	case findBalancer(balancers, target.name) == nil:
		return fmt.Errorf("alias target %s was not found: no such load balancer", target.name)
	}
	return nil
}
