package route53emulator

import (
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// maxChain bounds how many CNAMEs are followed for one answer.
const maxChain = 16

// view is what a name server knows at one moment. It is never changed.
type view struct {
	zones        map[name]servedZone
	healthChecks map[string]*healthCheck
	balancers    map[name]*balancer
	// pick returns a random number in [0, n).
	pick func(n int) int
}

type servedZone struct {
	id      string
	name    name
	records *records
}

// answer fills in the answer to a question.
func (v *view) answer(m *mdns.Msg, q mdns.Question) {
	n, ok := nameFromDNS(q.Name)
	z, hosted := v.zoneOf(n)
	switch {
	case !ok || q.Qclass != mdns.ClassINET || q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR:
		m.Rcode = mdns.RcodeRefused
	case q.Qtype == mdns.TypeANY:
		m.Rcode = mdns.RcodeNotImplemented
	case hosted:
		v.answerFrom(m, z, n, q)
	case findBalancer(v.balancers, n) != nil:
		v.answerBalancer(m, n, q)
	default:
		m.Rcode = mdns.RcodeRefused
	}
}

// zoneOf returns the deepest zone that n belongs to.
func (v *view) zoneOf(n name) (servedZone, bool) {
	for ; n != ""; n = n.parent() {
		if z, ok := v.zones[n]; ok {
			return z, true
		}
	}
	return servedZone{}, false
}

// answerFrom answers from a hosted zone, as https://www.rfc-editor.org/rfc/rfc1034#section-4.3.2 describes. A chain of CNAMEs
// is followed inside the zone only.
func (v *view) answerFrom(m *mdns.Msg, z servedZone, n name, q mdns.Question) {
	m.Authoritative = true
	owner := q.Name // the case of the question is kept
	wanted := mdns.TypeToString[q.Qtype]
	for range maxChain {
		if delegation := z.delegation(n); delegation != nil {
			m.Authoritative = len(m.Answer) > 0
			m.Ns = resources(delegation.name.dns(), delegation.recordType, delegation.ttl, delegation.values)
			return
		}
		source, found := z.source(n)
		if !found {
			m.Rcode = mdns.RcodeNameError
			m.Ns = z.negative()
			return
		}
		recordType := wanted
		if len(z.records.group(source, "CNAME")) > 0 {
			recordType = "CNAME"
		}
		ttl, values := v.resolve(z, source, recordType, 0)
		if len(values) == 0 {
			m.Ns = z.negative()
			return
		}
		m.Answer = append(m.Answer, resources(owner, recordType, ttl, values)...)
		if recordType == wanted {
			return
		}
		target, err := parseName(values[0])
		if err != nil || !target.within(z.name) {
			return
		}
		n, owner = target, target.dns()
	}
	m.Rcode = mdns.RcodeServerFailure // a loop of CNAMEs
}

// delegation returns the NS record set that delegates n or a name above it to other servers; nil if none does.
func (z servedZone) delegation(n name) *recordSet {
	var found *recordSet
	for ; n != z.name; n = n.parent() {
		if group := z.records.group(n, "NS"); len(group) > 0 {
			found = group[0]
		}
	}
	return found
}

// source returns the name whose records answer for n: n itself, or the wildcard below the closest name that exists.
// https://www.rfc-editor.org/rfc/rfc4592#section-3.3.1
func (z servedZone) source(n name) (name, bool) {
	exists := z.records.exists()
	if exists[n] {
		return n, true
	}
	for n = n.parent(); !exists[n]; n = n.parent() {
	}
	star := name(wildcard+".") + n
	return star, exists[star]
}

// negative is the SOA that says how long a missing record may be remembered: the lesser of its TTL and its last field.
// https://www.rfc-editor.org/rfc/rfc2308#section-3
func (z servedZone) negative() []mdns.RR {
	soa := z.records.group(z.name, "SOA")[0] // each zone has one
	rrs := resources(z.name.dns(), "SOA", soa.ttl, soa.values)
	for _, rr := range rrs {
		if soa, ok := rr.(*mdns.SOA); ok {
			soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return rrs
}

// resolve chooses a record set of a name and type, and follows it through aliases to its values. An alias has the TTL of its
// target: https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html
func (v *view) resolve(z servedZone, n name, recordType string, depth int) (ttl int64, values []string) {
	set := v.choose(z, z.records.group(n, recordType))
	switch {
	case set == nil || depth > len(z.records.byName):
		return 0, nil
	case set.alias == nil:
		return set.ttl, set.values
	case set.alias.zoneID == z.id:
		return v.resolve(z, set.alias.name, recordType, depth+1)
	}
	if b := findBalancer(v.balancers, set.alias.name); b != nil {
		return balancerTTL, b.values(recordType)
	}
	return 0, nil
}

// choose picks a record set of a group, by weight among those that count as healthy.
//
// Records with a weight are considered first; if none of them is healthy, those of weight zero are; if none of all is
// healthy, all count as healthy: https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
// When all weights are zero, each is as likely: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html#Route53-Type-ResourceRecordSet-Weight
func (v *view) choose(z servedZone, group []*recordSet) *recordSet {
	if len(group) == 0 {
		return nil
	}
	healthy := slices.DeleteFunc(slices.Clone(group), func(set *recordSet) bool { return !v.healthy(z, set, 0) })
	if len(healthy) == 0 {
		healthy = group
	}
	total := 0
	for _, set := range healthy {
		total += int(set.weight)
	}
	if total == 0 {
		return healthy[v.pick(len(healthy))]
	}
	at := v.pick(total)
	for _, set := range healthy {
		if at -= int(set.weight); at < 0 {
			return set
		}
	}
	return nil // cannot be: at is below the sum of the weights
}

// healthy reports whether a record set counts as healthy: if its health check says so, and, for an alias that evaluates its
// target's health, if one record of the target is. Without a health check it always is.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-complex-configs.html
func (v *view) healthy(z servedZone, set *recordSet, depth int) bool {
	if check := v.healthChecks[set.healthCheck]; check != nil && check.unhealthy {
		return false
	}
	if set.alias == nil || !set.alias.evaluateTargetHealth {
		return true
	}
	if set.alias.zoneID != z.id {
		b := findBalancer(v.balancers, set.alias.name)
		return b != nil && !b.unhealthy
	}
	if depth > len(z.records.byName) {
		return false
	}
	return slices.ContainsFunc(z.records.group(set.alias.name, set.recordType), func(target *recordSet) bool {
		return v.healthy(z, target, depth+1)
	})
}

// answerBalancer answers for the hostname of a load balancer, in place of the servers of its own domain.
func (v *view) answerBalancer(m *mdns.Msg, n name, q mdns.Question) {
	m.Authoritative = true
	recordType := mdns.TypeToString[q.Qtype]
	m.Answer = resources(q.Name, recordType, balancerTTL, findBalancer(v.balancers, n).values(recordType))
	if len(m.Answer) == 0 {
		m.Ns = resources(n.parent().dns(), "SOA", balancerTTL, []string{"ns-1.example.com. hostmaster.example.com. 1 7200 900 1209600 60"})
	}
}

// values returns the addresses of one type, A or AAAA.
func (b *balancer) values(recordType string) []string {
	var values []string
	for _, addr := range b.addresses {
		if recordType == "A" && addr.Is4() || recordType == "AAAA" && addr.Is6() {
			values = append(values, addr.String())
		}
	}
	return values
}

// resources turns values, which were checked when they came in, into resource records.
func resources(owner, recordType string, ttl int64, values []string) []mdns.RR {
	var rrs []mdns.RR
	header := mdns.RR_Header{Name: owner, Rrtype: mdns.StringToType[recordType], Class: mdns.ClassINET, Ttl: uint32(ttl)}
	for _, value := range values {
		if rr := resource(header, recordType, value); rr != nil {
			rrs = append(rrs, rr)
		}
	}
	return rrs
}

func resource(header mdns.RR_Header, recordType, value string) mdns.RR {
	switch recordType {
	case "A":
		addr, _ := netip.ParseAddr(value)
		return &mdns.A{Hdr: header, A: addr.AsSlice()}
	case "AAAA":
		addr, _ := netip.ParseAddr(value)
		return &mdns.AAAA{Hdr: header, AAAA: addr.AsSlice()}
	case "CNAME", "NS", "PTR":
		target, _ := parseName(value)
		switch recordType {
		case "CNAME":
			return &mdns.CNAME{Hdr: header, Target: target.dns()}
		case "NS":
			return &mdns.NS{Hdr: header, Ns: target.dns()}
		}
		return &mdns.PTR{Hdr: header, Ptr: target.dns()}
	case "TXT", "SPF":
		texts, _ := parseStrings(value)
		for i := range texts {
			texts[i] = escapeText(texts[i])
		}
		if recordType == "SPF" {
			return &mdns.SPF{Hdr: header, Txt: texts}
		}
		return &mdns.TXT{Hdr: header, Txt: texts}
	}
	rr, err := mdns.NewRR(". 0 IN " + recordType + " " + value)
	if err != nil || rr == nil {
		return nil
	}
	*rr.Header() = header
	return rr
}

// escapeText writes a string as the dns package presents it.
func escapeText(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			b.WriteByte('\\')
			b.WriteString(decimal(c))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func decimal(c byte) string { return string([]byte{'0' + c/100, '0' + c/10%10, '0' + c%10}) }
