package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	exampleworld "github.com/penstock-dev/penstock/examples/world"
)

// TestNode is about the one part of the clusters that is not Kubernetes: pods get an address and answer there, and leave the EndpointSlices
// before they end.
func TestNode(t *testing.T) {
	t.Parallel()
	s := &site{Cluster: world.clusters["east"], app: &app{t: t, namespace: "testnode"}}
	namespaces := s.Kube.CoreV1().Namespaces()
	_, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.app.namespace}}, metav1.CreateOptions{})
	must(t, err)
	s.createWorkload(name)
	client := exampleworld.NewClientWith(requestTimeout, s.Node.Transport(&http.Transport{}))
	t.Cleanup(client.Close)
	ask := func(address string) (exampleworld.Answer, error) {
		return client.Get(t.Context(), fmt.Sprintf("%s:%d", address, cluster.Port), "any", "/", nil)
	}
	s.scale(2)
	s.wait("two pods are ready", time.Minute, func() bool { return len(s.endpoints()) == 2 })
	addresses := s.endpoints()
	for _, address := range addresses {
		answer, err := ask(address)
		if err != nil || answer.Workload != name || answer.Version != version || answer.Cluster != "east" || answer.Header.Get(cluster.ScaledDownHeader) != "" {
			t.Errorf("the pod at %s answers %+v (%v)", address, answer, err)
		}
	}
	s.deployVersion(name, release, 1)
	s.wait("the pods are replaced", time.Minute, func() bool {
		now := s.endpoints()
		return len(now) == 2 && !slices.Contains(now, addresses[0]) && !slices.Contains(now, addresses[1])
	})
	addresses = s.endpoints()
	if answer, err := ask(addresses[0]); err != nil || answer.Version != release || !answer.Fault || answer.Status != http.StatusInternalServerError {
		t.Errorf("a pod that should fail each time answers %+v (%v)", answer, err)
	}
	s.scale(0)
	s.wait("no pod is in the EndpointSlices", time.Minute, func() bool { return len(s.endpoints()) == 0 })
	if answer, err := ask(addresses[0]); err != nil || answer.Header.Get(cluster.ScaledDownHeader) == "" {
		t.Errorf("in its time of grace a pod answers %+v (%v), want that it has been scaled down", answer, err)
	}
	s.wait("the pods have ended", time.Minute, func() bool { _, err := ask(addresses[0]); return err != nil })
	must(t, namespaces.Delete(t.Context(), s.app.namespace, metav1.DeleteOptions{}))
	s.wait("the namespace is gone", time.Minute, func() bool {
		_, err := namespaces.Get(t.Context(), s.app.namespace, metav1.GetOptions{})
		return err != nil
	})
}

// scale sets the replicas of the target.
func (s *site) scale(replicas int) {
	t := s.app.t
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, err := s.Kube.AppsV1().Deployments(s.app.namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
}

// endpoints returns the addresses of the application's pods that are ready.
func (s *site) endpoints() []string {
	t := s.app.t
	t.Helper()
	list, err := s.Kube.DiscoveryV1().EndpointSlices(s.app.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + name})
	must(t, err)
	var addresses []string
	for _, slice := range list.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
	}
	return addresses
}
