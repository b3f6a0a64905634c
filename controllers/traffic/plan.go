package traffic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// Planned is what a controller would do next. [Plan] finds it out and does nothing of it.
type Planned struct {
	Cluster string `json:"cluster"`
	// Fixed says that the weight is that of the flag initial-weight, so that there is no row.
	Fixed bool `json:"fixed,omitempty"`
	// Row is what the store holds; nil when it has no row yet.
	Row *store.Row `json:"row,omitempty"`
	// Weight is what would be published, in per cent.
	Weight int `json:"weight"`
	// Notes say, for people, what the plan takes for granted.
	Notes   []string        `json:"notes,omitempty"`
	Changes []PlannedChange `json:"changes"`
	// Problems are what would not be done, and what would be done in spite of something.
	Problems []PlannedProblem `json:"problems,omitempty"`
}

// Action is what a change does to a record.
type Action string

// The actions.
const (
	CreateRecord Action = "create"
	DeleteRecord Action = "delete"
	ChangeRecord Action = "change"
)

// PlannedChange is one record that would change, and why.
type PlannedChange struct {
	Action        Action         `json:"action"`
	Namespace     string         `json:"namespace"`
	Ingress       string         `json:"ingress"`
	Name          string         `json:"name"`
	Type          dns.RecordType `json:"type"`
	SetIdentifier string         `json:"setIdentifier,omitempty"`
	// From is what stands in DNS, To what would. From is nil in a change that takes over a record of somebody else.
	From    *PlannedRecord `json:"from,omitempty"`
	To      *PlannedRecord `json:"to,omitempty"`
	Reasons []string       `json:"reasons"`
}

// PlannedRecord is what a record says.
type PlannedRecord struct {
	Weight  int      `json:"weight"`
	Targets []string `json:"targets"`
	// TTLSeconds is 0 where it is left to the backend.
	TTLSeconds    int64  `json:"ttlSeconds,omitempty"`
	Alias         bool   `json:"alias,omitempty"`
	HealthCheckID string `json:"healthCheckID,omitempty"`
}

// Severity is what a problem means.
type Severity string

// The severities.
const (
	// Refused stays undone until somebody changes an object, or DNS.
	Refused Severity = "refused"
	// Unknown could not be found out, so that the plan lacks something.
	Unknown Severity = "unknown"
	// Kept are records that stay, since they may be another publisher's.
	Kept Severity = "kept"
	// Warned is done in spite of something.
	Warned Severity = "warning"
)

// PlannedProblem is why something would not be as it should. Host and Canary are empty where all of an Ingress is meant, and all four where
// the cluster is.
type PlannedProblem struct {
	Severity  Severity `json:"severity"`
	Namespace string   `json:"namespace,omitempty"`
	Ingress   string   `json:"ingress,omitempty"`
	Host      string   `json:"host,omitempty"`
	Canary    string   `json:"canary,omitempty"`
	Message   string   `json:"message"`
}

// Incomplete tells whether something could not be found out.
func (p Planned) Incomplete() bool {
	return slices.ContainsFunc(p.Problems, func(problem PlannedProblem) bool { return problem.Severity == Unknown })
}

// nextWeight returns the row as a controller that starts now would store it, and what it takes for granted.
func nextWeight(row store.Row, o Options, now time.Time) (next store.Row, notes []string) {
	if row.DesiredWeight > 100 {
		notes = append(notes, fmt.Sprintf("DesiredWeight %d counts as 100: correct it in the store", row.DesiredWeight))
	}
	seen := ramp.Seen{Now: now}
	due, _ := ramp.Due(row, o.Ramp, seen)
	next, _ = ramp.Next(ramp.Begin(row, o.Ramp, now), o.Ramp, seen)
	target, desired := ramp.Target(next, o.Ramp), min(row.DesiredWeight, 100)
	switch {
	case target == desired:
	case next.Ramp.Phase == store.RolledBack:
		notes = append(notes, fmt.Sprintf("weight %d stays although %d is desired, because the gradual move was rolled back: %s", target, desired, next.Ramp.Message))
	default:
		notes = append(notes, fmt.Sprintf("weight %d is one step of a gradual move to %d", target, desired))
	}
	if due && (o.RampQuery != "" || o.RampHealthCheck || o.RampReady > 0) {
		notes = append(notes, "the gates are not asked here, but taken to agree")
	}
	return next, notes
}

// outlook is what the reasons of the changes of one Ingress are found in.
type outlook struct {
	opts Options
	// ingress is as it stands in the cluster, shown as the controller sees it: nil where it does not exist, for all or for the controller.
	ingress, shown *networkingv1.Ingress
	// adopted says that an earlier controller made what is published.
	adopted bool
	// takenOver tells whether a record that is not published by us stands in DNS already.
	takenOver func(r dns.Record) bool
	unready   map[string]bool // hosts
	canaries  []string        // that are about the Ingress
	// was and will are the cluster's weight as it is served and as it would be published; served says whether the first is known.
	was, will weights.Percent
	served    bool
}

// changes returns what turns before into after, with the reasons.
func (o outlook) changes(namespace, name string, before, after []dns.Record) []PlannedChange {
	differences := dns.Diff(before, after)
	if o.adopted { // what stays as it is becomes ours too
		for i := range after {
			if slices.ContainsFunc(before, after[i].Equal) {
				differences = append(differences, dns.Change{From: &after[i], To: &after[i]})
			}
		}
	}
	all := make([]PlannedChange, 0, len(differences))
	for _, d := range differences {
		c := PlannedChange{Action: ChangeRecord, Namespace: namespace, Ingress: name, From: planned(d.From), To: planned(d.To)}
		of := cmp.Or(d.To, d.From)
		c.Name, c.Type, c.SetIdentifier = of.Name, of.Type, of.SetIdentifier
		switch {
		case d.To == nil:
			c.Action, c.Reasons = DeleteRecord, []string{o.whyDeleted(*d.From, after)}
		case d.From == nil && o.takenOver != nil && o.takenOver(*d.To):
			c.Reasons = []string{adoptedReason}
		case d.From == nil:
			c.Action, c.Reasons = CreateRecord, o.whyCreated(*d.To, before)
		default:
			c.Reasons = o.whyChanged(*d.From, *d.To)
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b PlannedChange) int {
		return cmp.Or(cmp.Compare(hostOf(a.Name), hostOf(b.Name)), cmp.Compare(len(a.Name), len(b.Name)))
	})
	return all
}

const adoptedReason = "adopted from an earlier controller"

func planned(r *dns.Record) *PlannedRecord {
	if r == nil {
		return nil
	}
	return &PlannedRecord{Weight: r.Weight, Targets: slices.Clone(r.Targets), TTLSeconds: int64(r.TTL / time.Second), Alias: r.Alias, HealthCheckID: r.HealthCheckID}
}

// hostOf returns the host that a record is about, which may stand below it.
func hostOf(name string) string {
	host, below := dns.Above(name)
	if !below {
		return name
	}
	if rest, wildcard := strings.CutPrefix(host, "_wildcard."); wildcard {
		return "*." + rest
	}
	return host
}

// inner tells whether a name is that of an inner set of a canary.
func (o outlook) inner(name string) bool {
	inner, err := dns.InnerName(o.opts.ClusterName, hostOf(name))
	return err == nil && inner == name
}

func (o outlook) whyDeleted(r dns.Record, after []dns.Record) string {
	host := hostOf(r.Name)
	switch {
	case o.ingress == nil:
		return "Ingress gone"
	case o.ingress.DeletionTimestamp != nil:
		return "Ingress is being deleted"
	case o.shown == nil && o.ingress.Labels[state.Label] != "":
		return "Ingress is the one that a router made for Canary " + o.ingress.Labels[state.Label]
	case slices.Contains(hostsOf(o.ingress), host) && !o.opts.filter.host(host):
		return fmt.Sprintf("host left the filter: it is not in %s of the flag binding-domain", o.opts.BindingDomain)
	case o.shown == nil && o.opts.AnnotationFilter == "": // none of its hosts is in the domain any more
		return "host removed from the Ingress"
	case o.shown == nil:
		return fmt.Sprintf("Ingress left the filter: it lacks the annotation %s of the flag annotation-filter", o.opts.AnnotationFilter)
	case !slices.Contains(hostsOf(o.shown), host):
		return "host removed from the Ingress"
	case o.inner(r.Name) && slices.ContainsFunc(after, func(a dns.Record) bool { return a.Name == r.Name }):
		return "canary gives it no traffic"
	case o.inner(r.Name):
		return "canary has ended"
	}
	return "target changed"
}

func (o outlook) whyCreated(r dns.Record, before []dns.Record) []string {
	_, below := dns.Above(r.Name)
	switch {
	case o.inner(r.Name):
		return []string{"canary " + o.canary() + " splits the traffic here"}
	case slices.ContainsFunc(before, func(b dns.Record) bool { return b.Name == r.Name }):
		return []string{"target changed"}
	case below:
		return []string{"the load balancer has several addresses"}
	}
	return append([]string{"new host"}, o.whyWeight(r, -1)...)
}

func (o outlook) whyChanged(from, to dns.Record) []string {
	var reasons []string
	if o.adopted {
		reasons = append(reasons, adoptedReason)
	}
	pointed := func(r dns.Record) bool { return slices.ContainsFunc(r.Targets, o.inner) }
	switch {
	case slices.Equal(from.Targets, to.Targets) && from.Alias == to.Alias && from.EvaluateTargetHealth == to.EvaluateTargetHealth:
	case pointed(to) && !pointed(from):
		reasons = append(reasons, "pointed at the inner set of canary "+o.canary())
	case pointed(from) && !pointed(to):
		reasons = append(reasons, "pointed at the load balancer again: the canary has ended")
	default:
		reasons = append(reasons, "target changed")
	}
	if from.Weight != to.Weight {
		reasons = append(reasons, o.whyWeight(to, from.Weight)...)
	}
	if _, below := dns.Above(to.Name); from.TTL != to.TTL {
		flag := "host-ttl"
		if below {
			flag = "inner-ttl"
		}
		reasons = append(reasons, "TTL of the flag "+flag)
	}
	if from.HealthCheckID != to.HealthCheckID {
		reasons = append(reasons, "health check of the cluster")
	}
	return reasons
}

// whyWeight returns what gives a record its weight; old is the published one, negative if there is none.
func (o outlook) whyWeight(r dns.Record, old int) []string {
	host := hostOf(r.Name)
	cluster := "cluster weight " + o.will.String()
	key := o.opts.AnnotationPrefix + "/traffic-weight"
	switch {
	case o.inner(r.Name):
		return []string{"weights of canary " + o.canary()}
	case r.SetIdentifier == "" || o.shown == nil:
		return nil
	case o.unready[host]:
		return []string{"no ready endpoints"}
	}
	share, err := dns.IngressWeight(o.shown, o.opts.AnnotationPrefix)
	if err != nil {
		return []string{cluster} // a problem says what is wrong with the annotation
	}
	annotated := fmt.Sprintf("annotation %s: %s", key, o.shown.Annotations[key])
	_, has := o.shown.Annotations[key]
	whole := weights.Record(o.will, share, 100)
	switch {
	case r.Weight < whole:
		return []string{cluster, "exposure of canary " + o.canary()}
	case old < 0 && has:
		return []string{cluster, annotated}
	case o.served && o.was != o.will && old == weights.Record(o.was, share, 100):
		return []string{fmt.Sprintf("cluster weight %s -> %s", o.was, o.will)}
	case has && old == weights.Record(o.will, weights.Hundred, 100):
		return []string{annotated}
	case old == 0 && o.served && o.was == o.will:
		return []string{"ready endpoints: it had none when 0 was published, or asked for 0"}
	case has:
		return []string{cluster, annotated}
	}
	return []string{cluster}
}

// canary names the Canaries of an Ingress.
func (o outlook) canary() string { return strings.Join(o.canaries, ", ") }
