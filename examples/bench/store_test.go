package bench_test

import (
	"sync"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const namespace = "shop"

// store is an API of Ingresses that costs next to nothing, so that what is measured is the routers, and that counts requests. Other
// kinds go to the clientset's own tracker, and are counted too.
type store struct {
	kube *fake.Clientset

	mu            sync.Mutex // guards what follows
	ingresses     map[string]*networkingv1.Ingress
	reads, writes int
}

func newStore(tb testing.TB, ingresses ...*networkingv1.Ingress) *store {
	tb.Helper()
	s := &store{kube: fake.NewClientset(), ingresses: map[string]*networkingv1.Ingress{}}
	for _, ingress := range ingresses {
		s.ingresses[ingress.Name] = ingress
	}
	s.kube.PrependReactor("*", "ingresses", s.react)
	s.kube.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch action.GetVerb() {
		case "get", "list", "watch":
			s.reads++
		default:
			s.writes++
		}
		return false, nil, nil
	})
	return s
}

func (s *store) react(action clienttesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	notFound := func(name string) error {
		return apierrors.NewNotFound(action.GetResource().GroupResource(), name)
	}
	switch a := action.(type) {
	case clienttesting.CreateAction: // also an update
		ingress := a.GetObject().(*networkingv1.Ingress).DeepCopy()
		s.ingresses[ingress.Name] = ingress
		return true, ingress.DeepCopy(), nil
	case clienttesting.GetAction: // also a deletion
		ingress, ok := s.ingresses[a.GetName()]
		if !ok {
			return true, nil, notFound(a.GetName())
		}
		if action.GetVerb() == "delete" {
			delete(s.ingresses, a.GetName())
			return true, nil, nil
		}
		return true, ingress.DeepCopy(), nil
	case clienttesting.ListAction:
		list := &networkingv1.IngressList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
		for _, ingress := range s.ingresses {
			list.Items = append(list.Items, *ingress.DeepCopy())
		}
		return true, list, nil
	}
	return false, nil, nil
}

// counted returns how many reads and writes f makes.
func (s *store) counted(f func()) (reads, writes int) {
	s.mu.Lock()
	s.reads, s.writes = 0, 0
	s.mu.Unlock()
	f()
	s.kube.ClearActions()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.writes
}
