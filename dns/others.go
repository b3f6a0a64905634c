package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/state"
)

// readOthers finds the hosts that other Ingresses serve too. Of those that nobody publishes the oldest publishes a host. What is published stays with its
// Ingress, until that or the host is removed: no Ingress that somebody makes, or adds a host to, can take a host away or keep a canary from going back.
// A host that is served twice cannot be split.
func (p *Publisher) readOthers(ctx context.Context, w *world) error {
	for _, host := range w.hosts {
		serving, err := p.source.Serving(ctx, host)
		if err != nil {
			return err
		}
		mine := w.publishes(host)
		for _, other := range serving {
			if other.Namespace == w.ingress.Namespace && (other.Name == w.ingress.Name || w.isPrepared(other.Name)) || Generated(other) {
				continue
			}
			w.shared[host] = fmt.Errorf("host %q is served by ingress %s/%s too: DNS would take its traffic along; give the Canary a host of its own",
				host, other.Namespace, other.Name)
			switch isOlder := older(other, w.ingress); {
			case mine && isOlder:
				w.beside[host] = fmt.Sprintf("ingress %s/%s, which is older, has host %q too, and does not get it while it is published here: remove it from one of the two",
					other.Namespace, other.Name, host)
			case mine:
			case isOlder:
				w.others[host] = fmt.Errorf("host %q is published for ingress %s/%s, which is older: remove it from one of the two", host, other.Namespace, other.Name)
			case w.others[host] == nil:
				if w.others[host], err = p.taken(ctx, host, other); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// publishes tells whether records of a host, or below it, are published for the Ingress.
func (w *world) publishes(host string) bool {
	inner, addresses, _ := namesOf(w.cluster, host) // what has no names below it, because they are too long, has no records there
	return slices.ContainsFunc(w.published, func(r Record) bool { return r.Name == host || r.Name == inner || r.Name == addresses })
}

// taken returns why a host is not published for the first time beside a younger Ingress: that has it already.
func (p *Publisher) taken(ctx context.Context, host string, other *networkingv1.Ingress) (refused, err error) {
	name := types.NamespacedName{Namespace: other.Namespace, Name: other.Name}
	records, err := p.backend.Published(ctx, p.cluster, name, []string{host})
	switch {
	case errors.Is(err, ErrRefused): // it lasts, and what it says of the other must not hold up the other hosts
		return fmt.Errorf("whether host %q is published for ingress %s is not known: %w", host, name, err), nil
	case err != nil:
		return nil, fmt.Errorf("read what is published for ingress %s, which has host %q too: %w", name, host, err)
	case slices.ContainsFunc(records, func(r Record) bool { return r.Name == host }):
		return fmt.Errorf("host %q is published for ingress %s already: remove it from one of the two", host, name), nil
	}
	return nil, nil
}

func (w *world) isPrepared(name string) bool {
	return !w.canaries[name] && slices.ContainsFunc(w.wishes, func(wish *wish) bool { return wish.desired.CanaryIngress == name })
}

// preparedIngresses returns those that Canaries of the Ingress are split to, which are not published for themselves.
func (w *world) preparedIngresses() []types.NamespacedName {
	var names []types.NamespacedName
	for _, wish := range w.wishes {
		if wish.desired.Mode == state.Split && w.isPrepared(wish.desired.CanaryIngress) {
			names = append(names, types.NamespacedName{Namespace: w.ingress.Namespace, Name: wish.desired.CanaryIngress})
		}
	}
	return names
}

// release publishes prepared Ingresses, of which something was published before there was a Canary. They get nothing new, and keep what the Ingress of the
// Canary does not have, or not yet: nobody is without an answer in between. Results are about those that keep something, or should not.
func (p *Publisher) release(ctx context.Context, prepared []*job) ([]Result, error) {
	var errs []error
	var results []Result
	var ready []*job
	for _, j := range prepared {
		w := j.world
		taken := map[string]bool{}
		var err error
		for _, heir := range j.heirs {
			var records []Record
			if records, err = p.backend.Published(ctx, p.cluster, heir, w.hosts); err != nil {
				errs = append(errs, fmt.Errorf("read what is published for ingress %s, for which %s is prepared: %w", heir, j.name, err))
				break
			}
			for _, r := range records {
				taken[r.Name] = true
			}
		}
		if err != nil {
			results = append(results, Result{Ingress: j.name, Err: err})
			continue
		}
		w.hosts = slices.DeleteFunc(w.hosts, func(host string) bool { return taken[host] || !w.publishes(host) })
		j.steps = w.steps()
		ready = append(ready, j)
	}
	errs = append(errs, p.publish(ctx, ready))
	for _, j := range ready {
		result := p.result(j)
		p.remember(j)
		errs = append(errs, j.status.Err)
		if len(j.records) == 0 && j.status.Err == nil {
			p.metrics.forget(j.name)
			continue
		}
		results = append(results, result)
	}
	return results, errors.Join(errs...)
}

// isReleased tells whether nothing is left to publish for a prepared Ingress. The records of its heirs prove that they took the place of what it had.
func (j *job) isReleased() bool { return len(j.heirs) > 0 && len(j.records) == 0 }

func older(a, b *networkingv1.Ingress) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}
