package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/conflicts"
	"github.com/penstock-dev/penstock/internal/state"
)

// wish is the ConfigMap of a Canary: what the router desires, and what the publisher has answered.
type wish struct {
	cm       *corev1.ConfigMap // as it was read; nil if there is none
	desired  state.Desired
	observed state.Observed
	// released says that an operator declared the drain of this generation for done.
	released bool
}

// lost tells whether the router's side is missing: it never was, or somebody deleted it.
func (w wish) lost() bool { return w.desired.Generation == 0 }

// errForeign ends the error about a ConfigMap of that name that is none of Penstock's.
var errForeign = errors.New("rename or delete it")

// read returns the ConfigMap of a Canary, with zero values for what is missing. What the publisher wrote is its own to repair, so a
// malformed answer counts as none.
func (r *DNSWeighted) read(canary *flaggerv1.Canary) (wish, error) {
	ctx, cancel := r.call()
	defer cancel()
	name := state.Name(canary.Name)
	cm, err := r.kube.CoreV1().ConfigMaps(canary.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return wish{}, nil
	}
	if err != nil {
		return wish{}, fmt.Errorf("get configmap %s/%s: %w", canary.Namespace, name, err)
	}
	if cm.Labels[state.Label] != labelValue(canary.Name) {
		return wish{}, fmt.Errorf("configmap %s/%s was not made for canary %q (its label %s is %q): %w",
			cm.Namespace, cm.Name, canary.Name, state.Label, cm.Labels[state.Label], errForeign)
	}
	w := wish{cm: cm}
	w.desired, w.observed, err = state.Read(cm)
	if malformed := (*state.MalformedError)(nil); errors.As(err, &malformed) {
		if malformed.Key == state.DesiredKey {
			return wish{}, err // it names the object, the key and the remedy
		}
		r.warn(canary, ReasonAnswerMalformed, malformed.Error())
	}
	leaving := !w.desired.Attached || w.desired.Weights.Canary == 0
	w.released = leaving && cm.Annotations[state.DrainedAnnotation] == strconv.FormatInt(w.desired.Generation, 10)
	return w, nil
}

// load is read, with what is lost derived anew, but not yet written.
func (r *DNSWeighted) load(canary *flaggerv1.Canary) (wish, error) {
	w, err := r.read(canary)
	if err == nil && w.lost() {
		w.desired, err = r.recover(canary, w)
	}
	return w, err
}

// change is rewrite in a tick: what Finalize has begun to end is not begun anew.
func (r *DNSWeighted) change(canary *flaggerv1.Canary, derive func(wish) (state.Desired, error)) (wish, error) {
	return r.rewrite(canary, func(w wish) (state.Desired, error) {
		if err := r.skipper.checkEnding(canary); err != nil {
			return state.Desired{}, err
		}
		return derive(w)
	})
}

// rewrite makes the router's side what derive returns, and returns the ConfigMap as it then is. Nothing is written when nothing
// differs. When somebody else's write came before, it is read and derived again.
func (r *DNSWeighted) rewrite(canary *flaggerv1.Canary, derive func(wish) (state.Desired, error)) (w wish, err error) {
	err = conflicts.Retry(func() error {
		if w, err = r.load(canary); err != nil {
			return err
		}
		desired, err := derive(w)
		if err != nil {
			return err
		}
		w, err = r.save(canary, w, desired)
		return err
	})
	return w, err
}

// save writes desired as the next generation, unless it stands there already.
func (r *DNSWeighted) save(canary *flaggerv1.Canary, w wish, desired state.Desired) (wish, error) {
	// A deletion in the foreground begins with what the Canary owns, which would be the ConfigMap that Finalize needs, and drops itself.
	owned := r.skipper.ending(canary) || w.cm != nil && ownedBy(w.cm, canary)
	differs := w.lost() || !desired.Same(w.desired)
	if owned && !differs {
		return w, nil
	}
	if differs {
		last := max(w.desired.Generation, w.observed.Generation)
		if w.lost() && initialized(canary) {
			last = max(last, 1) // the first says that nothing was ever done in DNS, which nobody knows any more
		}
		desired.Generation = last + 1
		desired.Since = r.opts.Clock.Now().UTC().Truncate(time.Second)
	}
	text, err := state.Encode(desired)
	if err != nil {
		return wish{}, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: state.Name(canary.Name)}}
	if w.cm != nil {
		cm = w.cm.DeepCopy()
	}
	cm.Labels = with(cm.Labels, state.Label, labelValue(canary.Name))
	cm.Data = with(cm.Data, state.DesiredKey, text)
	if !owned {
		cm.OwnerReferences = ownerReferences(cm.OwnerReferences, canary)
	}
	if w.cm, err = r.put(cm, w.cm == nil); err != nil {
		return wish{}, err
	}
	w.desired, w.released = desired, w.released && !differs
	r.logFor(canary).Infow("wish written", "configmap", cm.Name, "generation", desired.Generation, "mode", desired.Mode, "attached", desired.Attached,
		"primary_percent", desired.Weights.Primary, "canary_percent", desired.Weights.Canary, "exposure_percent", exposureOf(desired))
	return w, nil
}

func (r *DNSWeighted) put(cm *corev1.ConfigMap, create bool) (out *corev1.ConfigMap, err error) {
	ctx, cancel := r.call()
	defer cancel()
	api := r.kube.CoreV1().ConfigMaps(cm.Namespace)
	verb := "update"
	if create {
		verb = "create"
		out, err = api.Create(ctx, cm, metav1.CreateOptions{})
	} else {
		out, err = api.Update(ctx, cm, metav1.UpdateOptions{})
	}
	r.metrics.wrote("configmap", err)
	if err != nil {
		return nil, fmt.Errorf("%s configmap %s/%s: %w", verb, cm.Namespace, cm.Name, err)
	}
	return out, nil
}

// drop deletes exactly this ConfigMap; one that is gone is deleted.
func (r *DNSWeighted) drop(cm *corev1.ConfigMap) error {
	ctx, cancel := r.call()
	defer cancel()
	err := r.kube.CoreV1().ConfigMaps(cm.Namespace).Delete(ctx, cm.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &cm.UID}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	r.metrics.wrote("configmap", err)
	if err != nil {
		return fmt.Errorf("delete configmap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	return nil
}

// call returns the context of one call of the Kubernetes API.
func (r *DNSWeighted) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.base, r.opts.CallTimeout)
}

// ownedBy tells whether an object goes when the Canary goes.
func ownedBy(cm *corev1.ConfigMap, canary *flaggerv1.Canary) bool {
	return slices.ContainsFunc(cm.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == canary.UID })
}

// ownerReferences returns refs with the Canary in the place of an earlier one of its name: what is known about DNS is true for the
// new one as well, and must not be garbage-collected with the old one.
func ownerReferences(refs []metav1.OwnerReference, canary *flaggerv1.Canary) []metav1.OwnerReference {
	controller := true
	refs = slices.DeleteFunc(slices.Clone(refs), func(ref metav1.OwnerReference) bool {
		return ref.Kind == flaggerv1.CanaryKind && ref.Name == canary.Name
	})
	return append(refs, metav1.OwnerReference{
		APIVersion: flaggerv1.SchemeGroupVersion.String(), Kind: flaggerv1.CanaryKind, Name: canary.Name, UID: canary.UID, Controller: &controller,
	})
}

// with returns a map with one key set.
func with(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}
