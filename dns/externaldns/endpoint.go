package externaldns

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/dns"
)

// endpoint is one entry of spec.endpoints, with those fields that are used here.
// https://github.com/kubernetes-sigs/external-dns/blob/v0.21.0/endpoint/endpoint.go
type endpoint struct {
	DNSName          string            `json:"dnsName,omitempty"`
	Targets          []string          `json:"targets,omitempty"`
	RecordType       string            `json:"recordType,omitempty"`
	SetIdentifier    string            `json:"setIdentifier,omitempty"`
	RecordTTL        int64             `json:"recordTTL,omitempty"` // seconds
	Labels           map[string]string `json:"labels,omitempty"`
	ProviderSpecific []property        `json:"providerSpecific,omitempty"`
}

type property struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// The properties of Route 53's records.
// https://github.com/kubernetes-sigs/external-dns/blob/v0.21.0/provider/aws/aws.go
const (
	propertyWeight               = "aws/weight"
	propertyHealthCheckID        = "aws/health-check-id"
	propertyEvaluateTargetHealth = "aws/evaluate-target-health"
	propertyAlias                = "alias"
)

// ownedRecordLabel makes external-dns put a record into the change batch of the name that the label has as its value.
// https://github.com/kubernetes-sigs/external-dns/blob/v0.21.0/endpoint/labels.go
const ownedRecordLabel = "ownedRecord"

const (
	markerLabel = "_penstock"
	markerZone  = ".penstock.invalid"
	// markerTTL is short, since resolvers may be asked for the marker.
	markerTTL = 5 * time.Second
	// maxMarker leaves room for the "cname-" before the TXT record of external-dns' registry.
	// https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/registry/txt/
	maxMarker = 253 - len("cname-")
)

var markerTarget = regexp.MustCompile(`^[0-9a-f]{32}\.penstock\.invalid$`)

// endpointOf returns a record as external-dns reads it. aws/weight is the first property and aws/health-check-id the second, where those
// who read them by their place expect them.
func endpointOf(r dns.Record) endpoint {
	e := endpoint{
		DNSName: r.Name, Targets: slices.Clone(r.Targets), RecordType: string(r.Type),
		SetIdentifier: r.SetIdentifier, RecordTTL: int64(r.TTL / time.Second),
	}
	if r.SetIdentifier != "" {
		e.ProviderSpecific = append(e.ProviderSpecific, property{propertyWeight, strconv.Itoa(r.Weight)})
	}
	if r.HealthCheckID != "" {
		e.ProviderSpecific = append(e.ProviderSpecific, property{propertyHealthCheckID, r.HealthCheckID})
	}
	if r.Alias {
		e.ProviderSpecific = append(e.ProviderSpecific, property{propertyAlias, "true"})
	}
	// An alias to a load balancer, written as a CNAME, is left to external-dns' --aws-evaluate-target-health.
	if r.Alias || r.EvaluateTargetHealth {
		e.ProviderSpecific = append(e.ProviderSpecific, property{propertyEvaluateTargetHealth, strconv.FormatBool(r.EvaluateTargetHealth)})
	}
	return e
}

// recordOf is the reverse of endpointOf. It ignores what it does not know, and refuses what it would have to guess.
func recordOf(e endpoint) (dns.Record, error) {
	r := dns.Record{
		Name: e.DNSName, Type: dns.RecordType(e.RecordType), SetIdentifier: e.SetIdentifier,
		Targets: e.Targets, TTL: time.Duration(e.RecordTTL) * time.Second,
	}
	weighted := false
	var errs []error
	if single := e.SetIdentifier != "" || r.Type == dns.CNAME; len(e.Targets) == 0 || single && len(e.Targets) > 1 || slices.Contains(e.Targets, "") {
		errs = append(errs, fmt.Errorf("%d targets %q: a weighted record and a CNAME have one, others at least one", len(e.Targets), e.Targets))
	}
	for _, p := range e.ProviderSpecific {
		var err error
		switch p.Name {
		case propertyWeight:
			weighted = true
			var weight uint64
			weight, err = strconv.ParseUint(p.Value, 10, 8)
			r.Weight = int(weight)
		case propertyHealthCheckID:
			r.HealthCheckID = p.Value
		case propertyAlias:
			r.Alias, err = strconv.ParseBool(p.Value)
		case propertyEvaluateTargetHealth:
			r.EvaluateTargetHealth, err = strconv.ParseBool(p.Value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("property %s %q is malformed", p.Name, p.Value))
		}
	}
	if weighted != (e.SetIdentifier != "") {
		errs = append(errs, fmt.Errorf("setIdentifier %q and property %s belong together", e.SetIdentifier, propertyWeight))
	}
	if err := errors.Join(errs...); err != nil {
		return dns.Record{}, fmt.Errorf("endpoint %s %s: %w", e.DNSName, e.RecordType, err)
	}
	return r, nil
}

// isMarker tells markers from records: they alone have the label, which nobody else writes into a DNSEndpoint.
func (e endpoint) isMarker() bool { return e.Labels[ownedRecordLabel] != "" }

// marks tells whether e is a whole marker for name in cluster.
func (e endpoint) marks(name, markerName string) bool {
	return e.Labels[ownedRecordLabel] == name && e.DNSName == markerName && e.RecordType == string(dns.CNAME) && e.SetIdentifier == "" &&
		e.RecordTTL == int64(markerTTL/time.Second) && len(e.Labels) == 1 && len(e.ProviderSpecific) == 0 &&
		len(e.Targets) == 1 && markerTarget.MatchString(e.Targets[0])
}

// marker is the evidence for one name.
type marker struct {
	name   string // of the marker
	of     string // the name that it vouches for
	target string
}

// plan is what a DNSEndpoint should hold.
type plan struct {
	endpoints []endpoint // the records, then their markers
	markers   []marker
	// gone are answers that name servers should not give any more, of this change and of earlier ones that are not known to be in sync.
	gone []absence
	// fresh says that a marker has a name that none had before.
	fresh bool
	// change identifies the plan: it is another one after every change.
	change string
}

// absence is an answer that must no longer be given.
type absence struct {
	name  string
	kind  dns.RecordType
	value string // empty: any marker
}

// held is what a DNSEndpoint holds, and which of the answers that it should make go away may still be given.
type held struct {
	endpoints []endpoint
	gone      []absence
	proven    bool // that they are gone is known
}

// lacks tells whether one of the markers has a name that is not held.
func (h held) lacks(markers []marker) bool {
	return slices.ContainsFunc(markers, func(m marker) bool {
		return !slices.ContainsFunc(h.endpoints, func(e endpoint) bool { return e.DNSName == m.name })
	})
}

// newPlan returns what a DNSEndpoint that holds something should hold, so that records are published. A marker stays as it is while the
// records that it vouches for do; one that begins anew is like none before, for which seed is made.
func newPlan(cluster string, records []dns.Record, current held, seed string) (plan, error) {
	before, old := map[string][]endpoint{}, map[string]endpoint{}
	for _, e := range current.endpoints {
		if e.isMarker() {
			old[e.Labels[ownedRecordLabel]] = e
		} else {
			before[e.DNSName] = append(before[e.DNSName], e)
		}
	}
	var p plan
	var names []string
	wanted := map[string][]endpoint{}
	for _, r := range records {
		if wanted[r.Name] == nil {
			names = append(names, r.Name)
		}
		e := endpointOf(r)
		wanted[r.Name] = append(wanted[r.Name], e)
		p.endpoints = append(p.endpoints, e)
	}
	for _, name := range names {
		m, err := newMarker(cluster, name, wanted[name], before[name], old[name], seed)
		if err != nil {
			return plan{}, err
		}
		p.fresh = p.fresh || old[name].DNSName != m.name
		p.markers = append(p.markers, m)
		p.endpoints = append(p.endpoints, endpoint{
			DNSName: m.name, Targets: []string{m.target}, RecordType: string(dns.CNAME),
			RecordTTL: int64(markerTTL / time.Second), Labels: map[string]string{ownedRecordLabel: name},
		})
	}
	p.gone = current.gone
	if !reflect.DeepEqual(p.endpoints, current.endpoints) {
		p.gone = current.without(p.endpoints)
	}
	p.change = changeOf(p.endpoints)
	return p, nil
}

// changeOf identifies what stands in a DNSEndpoint, by its markers.
func changeOf(endpoints []endpoint) string {
	var all strings.Builder
	for _, e := range endpoints {
		if e.isMarker() {
			all.WriteString(e.DNSName + " " + strings.Join(e.Targets, " ") + "\n")
		}
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:16])
}

func newMarker(cluster, name string, wanted, before []endpoint, old endpoint, seed string) (marker, error) {
	markerName, err := dns.Below(cluster, markerLabel, name)
	if err != nil {
		return marker{}, fmt.Errorf("the convergence marker of %s: %w", name, err)
	}
	if len(markerName) > maxMarker {
		return marker{}, fmt.Errorf("the convergence marker of %s: %s is %d characters long, and external-dns needs room for a prefix of its TXT record: at most %d; "+
			"shorten the host or the cluster's name", name, markerName, len(markerName), maxMarker)
	}
	m := marker{name: markerName, of: name}
	text, err := json.Marshal(wanted)
	if err != nil {
		return marker{}, fmt.Errorf("records of %s: %w", name, err)
	}
	sum := sha256.Sum256(text)
	end := hex.EncodeToString(sum[:8]) + markerZone // of these records
	previous := seed                                // what was there before may be in DNS still, or again
	if old.marks(name, markerName) {
		previous = old.Targets[0]
		if reflect.DeepEqual(wanted, before) && strings.HasSuffix(previous, end) { // else somebody else has made them so
			m.target = previous
			return m, nil
		}
	}
	sum = sha256.Sum256(append([]byte(previous+"\n"), text...))
	m.target = hex.EncodeToString(sum[:8]) + end
	return m, nil
}

// without returns the answers that must go away when wanted takes the place of what is held.
func (h held) without(wanted []endpoint) []absence {
	still, names, whole := map[absence]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range wanted {
		names[e.DNSName] = true
		for _, a := range e.answers() {
			still[a] = true
		}
	}
	var candidates []absence
	for _, e := range h.endpoints {
		if name := e.Labels[ownedRecordLabel]; e.isMarker() && !names[name] {
			whole[name] = true
		}
	}
	for _, a := range h.gone {
		if !h.proven && (a.value == "" || !whole[a.name]) {
			candidates = append(candidates, a)
		}
	}
	for _, e := range h.endpoints {
		if !whole[e.DNSName] { // its marker goes with it, and tells so; the name itself a wildcard may answer from then on, as before
			candidates = append(candidates, e.answers()...)
		}
	}
	var gone []absence
	for _, a := range candidates {
		if !still[a] && !slices.Contains(gone, a) {
			gone = append(gone, a)
		}
	}
	return gone
}

// answers returns those answers that e alone can cause: that a marker exists, and what a name says that only this cluster has. What an
// alias answers is not known.
func (e endpoint) answers() []absence {
	if e.isMarker() {
		return []absence{{name: e.DNSName, kind: dns.CNAME}}
	}
	alias := slices.ContainsFunc(e.ProviderSpecific, func(p property) bool { return p.Name == propertyAlias })
	if _, below := dns.Above(e.DNSName); !below || alias {
		return nil
	}
	answers := make([]absence, 0, len(e.Targets))
	for _, target := range e.Targets {
		if _, elb := dns.LoadBalancerZone(target); !elb {
			answers = append(answers, absence{e.DNSName, dns.RecordType(e.RecordType), target})
		}
	}
	return answers
}

// String is the form of an absence in an annotation.
func (a absence) String() string {
	return strings.TrimSpace(a.name + " " + string(a.kind) + " " + a.value)
}

// parseAbsences reads what an annotation says. What somebody else wrote there is no absence.
func parseAbsences(text string) []absence {
	var all []absence
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); len(f) {
		case 2:
			all = append(all, absence{name: f[0], kind: dns.RecordType(f[1])})
		case 3:
			all = append(all, absence{f[0], dns.RecordType(f[1]), f[2]})
		}
	}
	return all
}

func formatAbsences(all []absence) string {
	lines := make([]string, 0, len(all))
	for _, a := range all {
		lines = append(lines, a.String())
	}
	return strings.Join(lines, "\n")
}
