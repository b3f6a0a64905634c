package dns

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// FieldManager owns data.observed of the Canaries' ConfigMaps in server-side apply.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
const FieldManager = "penstock-publisher"

// Source is where a Publisher reads what is wanted, and answers. A missing object is an error for which apierrors.IsNotFound holds.
type Source interface {
	// Ingress returns one Ingress.
	Ingress(ctx context.Context, name types.NamespacedName) (*networkingv1.Ingress, error)
	// Serving returns the Ingresses, in all namespaces that can be read, with a rule for a host as it is written in the rule. It may be some
	// seconds old.
	Serving(ctx context.Context, host string) ([]*networkingv1.Ingress, error)
	// Canaries returns the ConfigMaps of a namespace's Canaries.
	Canaries(ctx context.Context, namespace string) ([]corev1.ConfigMap, error)
	// Answer sets data.observed of the ConfigMap, unless that has been deleted or made anew since it was read.
	Answer(ctx context.Context, configMap *corev1.ConfigMap, observed string) error
}

// WeightSource tells a cluster's weight.
type WeightSource interface {
	ClusterWeight(ctx context.Context) (weights.Percent, error)
}

// StaticWeight is a WeightSource that does not change.
type StaticWeight weights.Percent

// ClusterWeight returns w.
func (w StaticWeight) ClusterWeight(context.Context) (weights.Percent, error) {
	return weights.Percent(w), nil
}

// servingMaxAge is how old the list of all Ingresses may be that tells who else serves a host.
const servingMaxAge = 30 * time.Second

// KubeSource is a Source that asks the API server on each call, for a process without caches: a router. It may be used by several
// goroutines.
type KubeSource struct {
	kube  kubernetes.Interface
	clock clock.PassiveClock

	mu     sync.Mutex // guards the following
	listed time.Time
	byHost map[string][]*networkingv1.Ingress
}

var _ Source = (*KubeSource)(nil)

// NewKubeSource returns a KubeSource; a nil clock is the real one.
func NewKubeSource(kube kubernetes.Interface, passive clock.PassiveClock) *KubeSource {
	if passive == nil {
		passive = clock.RealClock{}
	}
	return &KubeSource{kube: kube, clock: passive}
}

// Ingress implements Source.
func (s *KubeSource) Ingress(ctx context.Context, name types.NamespacedName) (*networkingv1.Ingress, error) {
	ingress, err := s.kube.NetworkingV1().Ingresses(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get ingress %s: %w", name, err)
	}
	return ingress, nil
}

// Serving implements Source with one list of all Ingresses for all hosts, at most 30 s old.
func (s *KubeSource) Serving(ctx context.Context, host string) ([]*networkingv1.Ingress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byHost == nil || s.clock.Since(s.listed) >= servingMaxAge {
		list, err := s.kube.NetworkingV1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list ingresses of all namespaces, to see who else serves host %q: %w", host, err)
		}
		s.byHost = map[string][]*networkingv1.Ingress{}
		for i := range list.Items {
			seen := map[string]bool{}
			for _, rule := range list.Items[i].Spec.Rules {
				name, err := NormalHost(rule.Host)
				if err == nil && !seen[name] {
					seen[name] = true
					s.byHost[name] = append(s.byHost[name], &list.Items[i])
				}
			}
		}
		s.listed = s.clock.Now()
	}
	return s.byHost[host], nil
}

// Canaries implements Source.
func (s *KubeSource) Canaries(ctx context.Context, namespace string) ([]corev1.ConfigMap, error) {
	list, err := s.kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: state.Label})
	if err != nil {
		return nil, fmt.Errorf("list configmaps %s/* with label %s: %w", namespace, state.Label, err)
	}
	return list.Items, nil
}

// Answer implements Source by server-side apply. The UID keeps the apply from making a ConfigMap that has just been deleted.
func (s *KubeSource) Answer(ctx context.Context, configMap *corev1.ConfigMap, observed string) error {
	apply := corev1apply.ConfigMap(configMap.Name, configMap.Namespace).
		WithUID(configMap.UID).
		WithData(map[string]string{state.ObservedKey: observed})
	_, err := s.kube.CoreV1().ConfigMaps(configMap.Namespace).Apply(ctx, apply, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // gone: nobody waits for the answer
	}
	if err != nil {
		return fmt.Errorf("apply data.%s of configmap %s/%s: %w", state.ObservedKey, configMap.Namespace, configMap.Name, err)
	}
	return nil
}
