package traffic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
)

// StatusPath is where the leader tells its Status, on the address of the metrics.
const StatusPath = "/status"

// Status is what a controller that leads knows of its cluster.
type Status struct {
	Cluster string `json:"cluster"`
	// Row is what the store held when it was read last; nil before that.
	Row *store.Row `json:"row,omitempty"`
	// Weight is what is published, in per cent; nil while it is not known.
	Weight *string `json:"weight,omitempty"`
	// StoreError is why the store could not be read or written; empty when it could.
	StoreError string `json:"storeError,omitempty"`
	// Pending counts the Ingresses that are not known to be served with the weight, those that have no host among them.
	Pending int          `json:"pending"`
	Hosts   []HostStatus `json:"hosts"`
}

// HostStatus is the state of one host of one Ingress.
type HostStatus struct {
	Host      string `json:"host"`
	Namespace string `json:"namespace"`
	Ingress   string `json:"ingress"`
	// Published is the record weight; -1 when nothing is published.
	Published int `json:"published"`
	// InSyncSince is when every name server was first known to answer with the last change; nil while they do not.
	InSyncSince *time.Time `json:"inSyncSince,omitempty"`
	// Assumed is true when that was not seen, but taken for granted.
	Assumed bool `json:"assumed,omitempty"`
	// EffectiveAt is from when on no resolver can hold an answer from before.
	EffectiveAt *time.Time `json:"effectiveAt,omitempty"`
	// AtCanary is true while the host points at the inner set of a canary.
	AtCanary bool `json:"atCanary,omitempty"`
	// Canary is the Canary whose Ingress this is, empty when there is none.
	Canary string `json:"canary,omitempty"`
	// Pending is true while the Ingress is not known to be served with the weight.
	Pending bool `json:"pending,omitempty"`
	// Ready tells whether somebody serves the host.
	Ready bool `json:"ready"`
	// Reason is what is waited for, Warning what was published in spite of, and Error what keeps the host from being published.
	Reason  string `json:"reason,omitempty"`
	Warning string `json:"warning,omitempty"`
	Error   string `json:"error,omitempty"`
	// Passing is true where Error is a fault that is tried again, so that nobody has to mend anything yet.
	Passing bool `json:"passing,omitempty"`
}

// handleStatus serves the Status as JSON. Who does not lead knows none, and says so.
func (c *Controller) handleStatus(w http.ResponseWriter, r *http.Request) {
	if c.filling.waits() {
		http.Error(w, "this replica leads, and its caches are not filled yet"+prefixed(": ", text(c.filling.why())), http.StatusServiceUnavailable)
		return
	}
	if !c.leads.Load() {
		http.Error(w, "this replica does not lead: ask the one that holds the lease "+LeaseID, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(c.status(r)); err != nil {
		c.log.Infow("status not sent", "error", err) // the client has gone
	}
}

func (c *Controller) status(r *http.Request) Status {
	c.seenRow.Lock()
	status := Status{Cluster: c.opts.ClusterName, Row: c.seenRow.row, StoreError: c.seenRow.err}
	c.seenRow.Unlock()
	if percent, err := c.weight.ClusterWeight(r.Context()); err == nil {
		text := percent.String()
		status.Weight = &text
	}
	generation, _ := c.weight.now()
	drain := c.weight.isZero()
	status.Pending = c.served.of(generation, drain).pending
	outcomes := c.served.outcomes(generation, drain)
	prepared := c.preparedOf(r.Context(), outcomes)
	for _, result := range outcomes {
		ingress, err := c.source.Ingress(r.Context(), result.Ingress)
		gone := err != nil
		if gone && !result.pending && result.Err == nil && result.Status.Err == nil && (!drain || !result.EffectiveAt.After(c.opts.clock.Now())) {
			continue // just now
		}
		switch {
		case len(result.Hosts) > 0:
		case gone:
			result.Hosts = []dns.HostResult{{Weight: -1}} // of which nobody knows the host
		case result.Err != nil, result.waits && !dns.Generated(ingress) && !prepared[result.Ingress]:
			for _, host := range hostsOf(ingress) {
				result.Hosts = append(result.Hosts, dns.HostResult{Host: host, Weight: -1})
			}
		}
		if result.waits && result.Status.Reason == "" {
			result.Status.Reason = "not published with this weight yet"
		}
		canary := c.canaryOf(r.Context(), result.Ingress)
		fault := errors.Join(result.Status.Err, result.Err)
		for _, h := range result.Hosts {
			ready := false
			if !gone {
				ready, err = c.source.ready(r.Context(), ingress, h.Host)
			}
			status.Hosts = append(status.Hosts, HostStatus{
				Host: h.Host, Namespace: result.Ingress.Namespace, Ingress: result.Ingress.Name, Published: h.Weight, AtCanary: h.Canary, Canary: canary,
				Pending: result.pending, Ready: ready && err == nil && !c.served.keptDown(result.Ingress, h.Host), InSyncSince: known(result.Status.InSyncSince), Assumed: result.Status.Assumed, EffectiveAt: known(result.EffectiveAt),
				Reason: result.Status.Reason, Warning: joined(h.Warning, result.Status.Warning, text(result.AnswerErr)), Error: text(errors.Join(h.Err, fault)),
				Passing: h.Err == nil && fault != nil && !errors.Is(fault, dns.ErrRefused),
			})
		}
	}
	slices.SortFunc(status.Hosts, func(a, b HostStatus) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Ingress, b.Ingress))
	})
	return status
}

// preparedOf returns the Ingresses of canaries among those that wait, which are not published for themselves. Where that cannot be read there are none.
func (c *Controller) preparedOf(ctx context.Context, outcomes []outcome) map[types.NamespacedName]bool {
	var waiting []types.NamespacedName
	for _, o := range outcomes {
		if o.waits {
			waiting = append(waiting, o.Ingress)
		}
	}
	prepared, err := c.prepared(ctx, waiting)
	if err != nil {
		c.log.Infow("status without the Ingresses of canaries", "error", err)
	}
	return prepared
}

func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "; ")
}
