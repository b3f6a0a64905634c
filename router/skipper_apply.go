package router

import (
	"context"
	"fmt"
	"slices"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// write is one plan on its way into the cluster.
type write struct {
	canary  *flaggerv1.Canary
	names   services
	plan    plan
	main    *networkingv1.Ingress // the canary Ingress as it is; nil if there is none
	adopted *networkingv1.Ingress // the same, without what is not to stay
	source  *networkingv1.Ingress // where labels and annotations are copied from
	record  record
	before  string // the weights that were set before, for a canary Ingress that is not there
	drain   bool   // nothing that can be done without may fail
}

// apply writes what differs, and tells whether anything did. The canary Ingress lists every other one before that is created and
// until it is deleted, so none is ever lost; apart from that it is written last, because it is what GetRoutes reads.
func (s *Skipper) apply(w write) (changed bool, err error) {
	var wanted, stale []string
	for _, g := range w.plan.extras {
		wanted = append(wanted, g.suffix)
	}
	for _, suffix := range w.record.extras {
		if !slices.Contains(wanted, suffix) {
			stale = append(stale, suffix)
		}
	}
	if len(stale) > 0 {
		changed = true
		if err := s.deleteExtras(w.canary, stale); err != nil {
			return changed, err
		}
	}
	mainFirst := w.main == nil || slices.ContainsFunc(wanted, func(suffix string) bool { return !slices.Contains(w.record.extras, suffix) })
	w.record.extras = wanted
	if mainFirst {
		wrote, written, err := s.applyMain(w.listing())
		if err != nil {
			return changed, err
		}
		changed = changed || wrote
		w.main, w.adopted = written, written
	}
	wrote, err := s.applyExtras(w)
	changed = changed || wrote
	if err != nil {
		return changed, err
	}
	wrote, _, err = s.applyMain(w)
	return changed || wrote, err
}

// listing is the canary Ingress as it is until all others stand: it lists them and says what it said before, because Flagger judges the weights that GetRoutes
// returns, and ends mirroring once that says that requests are mirrored. A drain waits for nothing.
func (w write) listing() write {
	w.record.mirrored = w.record.mirrored && w.main != nil && readRecord(w.main).mirrored
	switch {
	case w.drain:
	case w.main != nil:
		w.record.matched = readRecord(w.main).matched
		w.plan.main.weights, w.plan.main.predicate = w.main.Annotations[backendWeightsAnnotation], w.main.Annotations[predicateAnnotation]
	default:
		w.plan.main.weights, w.plan.main.predicate = w.before, disabled
	}
	return w
}

func (s *Skipper) renderMain(w write) *networkingv1.Ingress {
	return s.render(w.adopted, w.canary, w.plan.main, w.source, &w.record)
}

func (s *Skipper) applyMain(w write) (changed bool, written *networkingv1.Ingress, err error) {
	return s.put(w.main, s.renderMain(w))
}

func (s *Skipper) applyExtras(w write) (changed bool, err error) {
	for _, g := range w.plan.extras {
		existing, err := s.getOrNil(w.canary.Namespace, generatedName(w.canary, g.suffix))
		if err != nil {
			return changed, err
		}
		if existing != nil {
			if err := checkOwner(existing, w.canary, w.names); err != nil && w.drain {
				s.warn(w.canary, "SkipperMisconfigured", err.Error())
				continue
			} else if err != nil {
				return changed, refusal{err}
			}
		}
		wrote, _, err := s.put(existing, s.render(existing, w.canary, g, w.source, nil))
		if err != nil {
			return changed, err
		}
		changed = changed || wrote
	}
	return changed, nil
}

// put creates or updates one Ingress, unless it is as it should be, and returns it as it then is.
func (s *Skipper) put(existing, wanted *networkingv1.Ingress) (changed bool, written *networkingv1.Ingress, err error) {
	ctx, cancel := s.call()
	defer cancel()
	api := s.kube.NetworkingV1().Ingresses(wanted.Namespace)
	switch {
	case existing == nil:
		if written, err = api.Create(ctx, wanted, metav1.CreateOptions{}); err != nil {
			return false, nil, fmt.Errorf("create ingress %s/%s: %w", wanted.Namespace, wanted.Name, err)
		}
	case equality.Semantic.DeepEqual(existing, wanted):
		return false, existing, nil
	default:
		if written, err = api.Update(ctx, wanted, metav1.UpdateOptions{}); err != nil {
			return false, nil, fmt.Errorf("update ingress %s/%s: %w", wanted.Namespace, wanted.Name, err)
		}
	}
	return true, written, nil
}

func sameSpec(a, b networkingv1.IngressSpec) bool { return equality.Semantic.DeepEqual(a, b) }

// deleteExtras deletes the Ingresses with these suffixes, last created first: mirror must not outlive shadow.
func (s *Skipper) deleteExtras(canary *flaggerv1.Canary, suffixes []string) error {
	for _, suffix := range slices.Backward(suffixes) {
		extra, err := s.getOrNil(canary.Namespace, generatedName(canary, suffix))
		if err != nil {
			return err
		}
		if extra == nil || checkOwner(extra, canary, serviceNames(canary)) != nil {
			continue
		}
		if err := s.delete(extra); err != nil {
			return err
		}
	}
	return nil
}

// deleteLeftovers deletes what was generated beside a canary Ingress that is gone, except for the suffixes to keep.
func (s *Skipper) deleteLeftovers(canary *flaggerv1.Canary, siblings []networkingv1.Ingress, keep []generated) error {
	for _, ingress := range slices.Backward(siblings) {
		if ingress.Labels[canaryLabel] != labelValue(canary.Name) || checkOwner(&ingress, canary, serviceNames(canary)) != nil {
			continue
		}
		if slices.ContainsFunc(keep, func(g generated) bool { return generatedName(canary, g.suffix) == ingress.Name }) {
			continue
		}
		if err := s.delete(&ingress); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes exactly this object: another one that has taken its name in the meantime stays.
func (s *Skipper) delete(ingress *networkingv1.Ingress) error {
	ctx, cancel := s.call()
	defer cancel()
	err := s.kube.NetworkingV1().Ingresses(ingress.Namespace).Delete(ctx, ingress.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &ingress.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
	}
	return nil
}

func (s *Skipper) get(namespace, name string) (*networkingv1.Ingress, error) {
	ctx, cancel := s.call()
	defer cancel()
	ingress, err := s.kube.NetworkingV1().Ingresses(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get ingress %s/%s: %w", namespace, name, err)
	}
	return ingress, nil
}

func (s *Skipper) getOrNil(namespace, name string) (*networkingv1.Ingress, error) {
	ingress, err := s.get(namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nil is what the name says
	}
	return ingress, err
}

// list returns the Ingresses of a namespace, all pages of them.
func (s *Skipper) list(namespace string) ([]networkingv1.Ingress, error) {
	ctx, cancel := s.call()
	defer cancel()
	list, err := s.kube.NetworkingV1().Ingresses(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list ingresses in %s: %w", namespace, err)
	}
	return list.Items, nil
}

// call returns the context of one call of the API.
func (s *Skipper) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.base, s.opts.CallTimeout)
}
