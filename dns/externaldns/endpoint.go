package externaldns

import (
	"cmp"
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
	// gone are the questions that nobody should answer any more as before.
	gone []absence
	// change identifies the plan: it is another one after every change.
	change string
}

// absence is an answer that must no longer be given.
type absence struct {
	name  string
	kind  dns.RecordType
	value string // empty: any
}

// newPlan returns what a DNSEndpoint that holds current should hold, so that records are published. A marker stays as it is while the
// records that it vouches for do.
func newPlan(cluster string, records []dns.Record, current []endpoint) (plan, error) {
	before, old := map[string][]endpoint{}, map[string]endpoint{}
	for _, e := range current {
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
		m, err := newMarker(cluster, name, wanted[name], before[name], old[name])
		if err != nil {
			return plan{}, err
		}
		p.markers = append(p.markers, m)
		p.endpoints = append(p.endpoints, endpoint{
			DNSName: m.name, Targets: []string{m.target}, RecordType: string(dns.CNAME),
			RecordTTL: int64(markerTTL / time.Second), Labels: map[string]string{ownedRecordLabel: name},
		})
	}
	p.gone = absences(cluster, current, p.endpoints)
	var all strings.Builder
	for _, m := range p.markers {
		all.WriteString(m.name + " " + m.target + "\n")
	}
	sum := sha256.Sum256([]byte(all.String()))
	p.change = hex.EncodeToString(sum[:16])
	return p, nil
}

func newMarker(cluster, name string, wanted, before []endpoint, old endpoint) (marker, error) {
	markerName, err := dns.Below(cluster, markerLabel, name)
	if err != nil {
		return marker{}, fmt.Errorf("the convergence marker of %s: %w", name, err)
	}
	m := marker{name: markerName, of: name}
	previous := ""
	if old.marks(name, markerName) {
		previous = old.Targets[0]
		if reflect.DeepEqual(wanted, before) {
			m.target = previous
			return m, nil
		}
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		return marker{}, fmt.Errorf("records of %s: %w", name, err)
	}
	sum := sha256.Sum256(append([]byte(previous+"\n"), text...))
	m.target = hex.EncodeToString(sum[:16]) + markerZone
	return m, nil
}

// absences returns what current makes name servers answer, and wanted does not.
func absences(cluster string, current, wanted []endpoint) []absence {
	still := map[string]bool{}
	for _, e := range wanted {
		still[e.DNSName] = still[e.DNSName] || e.isMarker()
		for _, target := range e.Targets {
			still[target] = true // also where another name leads to it
		}
	}
	var gone []absence
	for _, e := range current {
		for _, a := range e.answers(cluster) {
			if !still[cmp.Or(a.value, a.name)] && !slices.Contains(gone, a) {
				gone = append(gone, a)
			}
		}
	}
	return gone
}

// answers returns those answers that e alone can cause: that a marker exists, and the addresses of a name that only this cluster has.
func (e endpoint) answers(cluster string) []absence {
	if e.isMarker() {
		return []absence{{name: e.DNSName, kind: dns.CNAME}}
	}
	alias := slices.ContainsFunc(e.ProviderSpecific, func(p property) bool { return p.Name == propertyAlias })
	if kind := dns.RecordType(e.RecordType); e.SetIdentifier == cluster || alias || kind != dns.A && kind != dns.AAAA {
		return nil
	}
	answers := make([]absence, 0, len(e.Targets))
	for _, target := range e.Targets {
		answers = append(answers, absence{e.DNSName, dns.RecordType(e.RecordType), target})
	}
	return answers
}
