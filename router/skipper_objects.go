package router

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// splitAnnotations are those that a plan sets itself; they are never copied as they are.
var splitAnnotations = []string{predicateAnnotation, filterAnnotation, backendWeightsAnnotation, routesAnnotation}

// record is what the canary Ingress remembers beside the weights.
type record struct {
	apex     string   // apexAnnotation
	extras   []string // suffixes of the further Ingresses, in the order of creation
	mirrored bool
	matched  bool   // the weights are those of requests that match
	since    string // sinceAnnotation
}

func readRecord(main *networkingv1.Ingress) record {
	r := record{
		apex:     main.Annotations[apexAnnotation],
		mirrored: main.Annotations[mirroredAnnotation] == "true",
		matched:  main.Annotations[matchedAnnotation] == "true",
		since:    main.Annotations[sinceAnnotation],
	}
	if list := main.Annotations[extrasAnnotation]; list != "" {
		r.extras = strings.Split(list, ",")
	}
	return r
}

// setBefore tells whether routes were last set before a time.
func (r record) setBefore(t time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, r.since)
	return err == nil && at.Before(t)
}

func (r record) write(annotations map[string]string) {
	set(annotations, apexAnnotation, r.apex)
	set(annotations, extrasAnnotation, strings.Join(r.extras, ","))
	set(annotations, sinceAnnotation, r.since)
	for key, is := range map[string]bool{mirroredAnnotation: r.mirrored, matchedAnnotation: r.matched} {
		value := ""
		if is {
			value = "true"
		}
		set(annotations, key, value)
	}
}

// set deletes what is empty.
func set(annotations map[string]string, key, value string) {
	if value == "" {
		delete(annotations, key)
		return
	}
	annotations[key] = value
}

// snapshot returns the value of apexAnnotation.
func snapshot(apex map[string]string) string {
	kept := map[string]string{}
	for _, key := range []string{predicateAnnotation, filterAnnotation, backendWeightsAnnotation} {
		if value, ok := apex[key]; ok {
			kept[key] = value
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(kept); err != nil { // cannot be: strings can be encoded
		return ""
	}
	return strings.TrimSpace(out.String())
}

// viewOf reads those annotations of the apex Ingress, or of their snapshot, that the split changes. canary is the Spec that
// goes with them.
func viewOf(annotations map[string]string, canary networkingv1.IngressSpec, names services) (apexView, error) {
	view := apexView{canary: canary}
	var err error
	if view.own, err = parsePredicates(annotations[predicateAnnotation]); err != nil {
		return apexView{}, fmt.Errorf("annotation %s %q: %w", predicateAnnotation, annotations[predicateAnnotation], err)
	}
	filters, err := parseFilters(annotations[filterAnnotation])
	if err != nil {
		return apexView{}, fmt.Errorf("annotation %s %q: %w", filterAnnotation, annotations[filterAnnotation], err)
	}
	view.filters = joinFilters(texts(filters)...)
	text, ok := annotations[backendWeightsAnnotation]
	if !ok {
		return view, nil
	}
	view.weights, err = parseBackendWeights(text, userDigits)
	if err != nil {
		return apexView{}, fmt.Errorf("annotation %s: %w", backendWeightsAnnotation, err)
	}
	if w := view.weights[names.apex]; !alone(canary, names) && (w == nil || w.Sign() == 0) {
		return apexView{}, fmt.Errorf("annotation %s: %s gives Service %q no weight beside the others on its path, so there is nothing to split; give it one",
			backendWeightsAnnotation, text, names.apex)
	}
	return view, nil
}

// synced tells whether an annotation is copied from the apex Ingress: what Skipper and its load balancer controller read. All
// others are for other controllers, which would act twice.
func (s *Skipper) synced(annotation string) bool {
	if slices.Contains(splitAnnotations, annotation) {
		return false
	}
	return annotation == ingressClassAnnotation || strings.HasPrefix(annotation, "zalando.org/") || s.syncedKey(annotation)
}

// syncedLabel tells whether a label is copied. Labels without a prefix are private to the user, who may have told Skipper to
// select by them; labels with one belong to tools, such as those that would prune the copy.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
func (s *Skipper) syncedLabel(label string) bool {
	return !strings.Contains(label, "/") || s.syncedKey(label)
}

func (s *Skipper) syncedKey(key string) bool {
	return slices.ContainsFunc(s.opts.SyncKeys, func(k string) bool {
		return key == k || strings.HasSuffix(k, "/") && strings.HasPrefix(key, k)
	})
}

// render returns what existing (nil if there is none) should be. source is where labels and annotations are copied from; rec is nil
// but for the canary Ingress itself.
func (s *Skipper) render(existing *networkingv1.Ingress, canary *flaggerv1.Canary, g generated, source *networkingv1.Ingress, rec *record) *networkingv1.Ingress {
	out := &networkingv1.Ingress{}
	if existing != nil {
		out = existing.DeepCopy()
	} else {
		out.Namespace = canary.Namespace
		out.Name = generatedName(canary, g.suffix)
	}
	out.Spec = g.spec
	out.Labels = syncKeys(out.Labels, source.Labels, s.syncedLabel)
	out.Labels[canaryLabel] = labelValue(canary.Name)

	out.Annotations = syncKeys(out.Annotations, source.Annotations, s.synced)
	out.Annotations[externalDNSControllerAnnotation] = externalDNSController
	set(out.Annotations, predicateAnnotation, g.predicate)
	set(out.Annotations, filterAnnotation, g.filters)
	set(out.Annotations, backendWeightsAnnotation, g.weights)
	set(out.Annotations, routesAnnotation, g.routes)
	if rec != nil {
		rec.write(out.Annotations)
	}
	if s.opts.SetOwnerRefs && !metav1.IsControlledBy(out, canary) {
		out.OwnerReferences = append(out.OwnerReferences, *metav1.NewControllerRef(canary,
			flaggerv1.SchemeGroupVersion.WithKind(flaggerv1.CanaryKind)))
	}
	return out
}

func generatedName(canary *flaggerv1.Canary, suffix string) string {
	apex := canary.Spec.IngressRef.Name
	if suffix == "" {
		return canaryIngressName(apex)
	}
	return extraIngressName(apex, suffix)
}

// syncKeys returns to with exactly those keys of from that are synced, and its own others.
func syncKeys(to, from map[string]string, synced func(string) bool) map[string]string {
	out := maps.Clone(to)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(key, _ string) bool { return synced(key) })
	for key, value := range from {
		if synced(key) {
			out[key] = value
		}
	}
	return out
}

// adopt returns a canary Ingress that Flagger's router made without what that copied from the apex Ingress for other
// controllers: they would issue a second certificate, prune it, or garbage-collect it. One of ours is returned as it is.
func (s *Skipper) adopt(main, apex *networkingv1.Ingress, names services) *networkingv1.Ingress {
	if _, ours := main.Labels[canaryLabel]; ours || !flaggerShape(main, names) {
		return main
	}
	out := main.DeepCopy()
	copied := func(source map[string]string, synced func(string) bool) func(key, value string) bool {
		return func(key, value string) bool {
			original, ok := source[key]
			return ok && original == value && !synced(key)
		}
	}
	maps.DeleteFunc(out.Labels, copied(apex.Labels, s.syncedLabel))
	maps.DeleteFunc(out.Annotations, copied(apex.Annotations, func(key string) bool {
		return s.synced(key) || slices.Contains(splitAnnotations, key)
	}))
	out.OwnerReferences = slices.DeleteFunc(out.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return slices.ContainsFunc(apex.OwnerReferences, func(a metav1.OwnerReference) bool { return a.UID == ref.UID && a.Name == ref.Name })
	})
	if len(out.OwnerReferences) == 0 {
		out.OwnerReferences = nil
	}
	return out
}

// flaggerShape tells whether an Ingress has what marks the one of Flagger's router when it sets no owner references: weights
// for exactly these two Services.
func flaggerShape(main *networkingv1.Ingress, names services) bool {
	weights, err := parseBackendWeights(main.Annotations[backendWeightsAnnotation], ourDigits)
	return err == nil && len(weights) == 2 && weights[names.primary] != nil && weights[names.canary] != nil
}

// checkOwner returns an error that names who an Ingress belongs to, unless that is the Canary.
func checkOwner(ingress *networkingv1.Ingress, canary *flaggerv1.Canary, names services) error {
	object := fmt.Sprintf("ingress %s/%s", ingress.Namespace, ingress.Name)
	if owner := metav1.GetControllerOf(ingress); owner != nil {
		if owner.UID == canary.UID && owner.Kind == flaggerv1.CanaryKind && owner.Name == canary.Name {
			return nil
		}
		return fmt.Errorf("%s is controlled by %s %q (uid %s), not by canary %q (uid %s): wait until it is gone, or give the Canary an Ingress of its own",
			object, owner.Kind, owner.Name, owner.UID, canary.Name, canary.UID)
	}
	if name, ok := ingress.Labels[canaryLabel]; ok {
		if name == labelValue(canary.Name) {
			return nil
		}
		return fmt.Errorf("%s belongs to canary %q: an Ingress takes one Canary, so give canary %q an Ingress of its own", object, name, canary.Name)
	}
	if flaggerShape(ingress, names) {
		return nil
	}
	return fmt.Errorf("%s was not made for canary %q (it has no label %s=%s, no owner reference to it, and no weights of its Services): rename or delete it",
		object, canary.Name, canaryLabel, labelValue(canary.Name))
}

// planFromSnapshot plans from the canary Ingress alone.
func planFromSnapshot(main *networkingv1.Ingress, names services, strategy strategy, r routes) (plan, error) {
	var annotations map[string]string
	if err := json.Unmarshal([]byte(main.Annotations[apexAnnotation]), &annotations); err != nil {
		return plan{}, fmt.Errorf("annotation %s: %w: delete it, and it is written anew", apexAnnotation, err)
	}
	view, err := viewOf(annotations, main.Spec, names)
	if err != nil {
		return plan{}, err
	}
	view.routes = main.Annotations[routesAnnotation]
	return newPlan(view, names, strategy, r)
}

// drainInPlace takes all requests from the canary with nothing but the canary Ingress to go by: that is always possible.
func drainInPlace(main *networkingv1.Ingress, names services) plan {
	g := generated{
		spec:      main.Spec,
		predicate: disabled,
		filters:   main.Annotations[filterAnnotation],
		weights:   backendWeights{names.primary: hundred, names.canary: share(hundred, 0)}.String(),
		routes:    main.Annotations[routesAnnotation],
	}
	return plan{main: g}
}

// settleLeft returns how long Skipper may still act on the routes from before since.
func settleLeft(since string, now time.Time, settle time.Duration) time.Duration {
	if since == "" {
		return 0 // never changed by us
	}
	at, err := time.Parse(time.RFC3339Nano, since)
	if err != nil {
		return settle // somebody edited it: rather too long than too short
	}
	return min(max(at.Add(settle).Sub(now), 0), settle)
}
