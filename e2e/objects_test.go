package e2e_test

import (
	"encoding/json"
	"fmt"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
)

// deploy creates what a user would.
func (s *site) deploy() {
	t := s.app.t
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.app.namespace}}
	_, err := s.Kube.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	must(t, err)
	s.createWorkload(name)
	s.createIngress(name, name, s.app.host, 0)
	if s.app.setup.split {
		s.createIngress(next, name+"-canary", s.app.host, 1)
	}
	s.createCanary(name, s.app.setup.change)
	s.history = s.watch()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// createWorkload creates a Deployment and a Service.
func (s *site) createWorkload(name string) {
	t := s.app.t
	t.Helper()
	labels := map[string]string{"app": name}
	_, err := s.Kube.AppsV1().Deployments(s.app.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{cluster.VersionAnnotation: version}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: name, Image: "app.example.com/app", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: cluster.Port}},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	// A Service that Flagger makes goes with the Canary; the user's own stays, and selects the target again.
	_, err = s.Kube.CoreV1().Services(s.app.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}, metav1.CreateOptions{})
	must(t, err)
}

// createIngress creates an Ingress behind one of the load balancers.
func (s *site) createIngress(name, service, host string, lb int) {
	t := s.app.t
	t.Helper()
	prefix := networkingv1.PathTypePrefix
	api := s.Kube.NetworkingV1().Ingresses(s.app.namespace)
	created, err := api.Create(t.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			"kubernetes.io/ingress.class": s.class(lb), // the only one that Skipper looks at
			// As the documentation has it, for an external-dns that reads Ingresses.
			"external-dns.alpha.kubernetes.io/controller": "penstock",
		}},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &prefix,
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}},
		}}},
	}, metav1.CreateOptions{})
	must(t, err)
	created.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: s.addresses[lb].String()}}
	_, err = api.UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
	must(t, err)
}

// createCanary creates the Canary of a workload and its Ingress.
func (s *site) createCanary(name string, change func(*flaggerv1.Canary)) {
	t := s.app.t
	t.Helper()
	c := &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: flaggerv1.CanarySpec{
			Provider:         s.app.setup.provider,
			TargetRef:        flaggerv1.LocalObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			IngressRef:       &flaggerv1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: name},
			Service:          flaggerv1.CanaryService{Port: 80, TargetPort: intstr.FromString("http")},
			RevertOnDeletion: s.app.setup.split,
			Analysis: &flaggerv1.CanaryAnalysis{
				Interval: "10s", Threshold: 2, StepWeight: 20, MaxWeight: 40,
				Metrics: []flaggerv1.CanaryMetric{
					{Name: "request-success-rate", Interval: "10s", ThresholdRange: &flaggerv1.CanaryThresholdRange{Min: new(99.0)}},
					{Name: "request-duration", Interval: "10s", ThresholdRange: &flaggerv1.CanaryThresholdRange{Max: new(1000.0)}},
				},
			},
		},
	}
	if s.app.setup.split {
		c.Annotations["penstock.dev/canary-ingress"] = next
	}
	if s.app.setup.steps {
		c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, s.startApproval(s.judgeable))
	}
	if change != nil {
		change(c)
	}
	_, err := s.Flagger.FlaggerV1beta1().Canaries(s.app.namespace).Create(t.Context(), c, metav1.CreateOptions{})
	must(t, err)
}

// release deploys a new version; of its answers every n-th is an error, none if that is 0.
func (s *site) release(version string, faults int) { s.deployVersion(name, version, faults) }

func (s *site) deployVersion(name, version string, faults int) {
	t := s.app.t
	t.Helper()
	annotations := map[string]any{cluster.VersionAnnotation: version, cluster.FaultsAnnotation: nil} // null removes it
	if faults > 0 {
		annotations[cluster.FaultsAnnotation] = fmt.Sprint(faults)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": annotations}}}})
	must(t, err)
	_, err = s.Kube.AppsV1().Deployments(s.app.namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
}
