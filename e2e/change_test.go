package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	exampleworld "github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/internal/conflicts"
)

// edit changes an Ingress as a user does.
func (s *site) edit(ingress string, change func(*networkingv1.Ingress)) {
	t := s.app.t
	t.Helper()
	api := s.Kube.NetworkingV1().Ingresses(s.app.namespace)
	err := conflicts.Retry(func() error {
		i, err := api.Get(t.Context(), ingress, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(i)
		_, err = api.Update(t.Context(), i, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sharesNow checks the shares of the next requests.
func (a *app) sharesNow(what string, intended map[traffic.Cell]float64) {
	a.t.Helper()
	from, counts := time.Now(), map[traffic.Cell]int{}
	a.wait("there are enough requests to judge shares by", time.Minute, func() bool {
		counts = traffic.Counts(a.recorder.Between(from, time.Now()))
		return total(counts) >= least
	})
	a.judge(what, counts, intended)
}

// TestChangesInMidCanary: weights hold, and traffic follows, whatever people do to the Ingress and whatever restarts.
func TestChangesInMidCanary(t *testing.T) {
	t.Parallel()
	each(t, everySplit, func(t *testing.T, s setup) {
		a := newApp(t, s.judged())
		east := a.sites["east"]
		east.release(release, 0)
		east.wait("the canary has its first share", patience, east.atWeight(20))

		// The next tick sees all of this, and takes the second step at its end.
		exact := networkingv1.PathTypeExact
		change := func(i *networkingv1.Ingress) {
			i.Annotations["zalando.org/skipper-filter"] = `setResponseHeader("X-Edited", "true")`
			i.Annotations[weightAnnotation] = "50"
			paths := &i.Spec.Rules[0].HTTP.Paths
			more := (*paths)[0]
			more.Path, more.PathType = "/more", &exact
			*paths = append(*paths, more)
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{a.host}, SecretName: "tls"}}
		}
		east.edit(name, change)
		if s.split {
			east.edit(next, change) // it is the user's, too
		} else {
			must(t, east.Kube.NetworkingV1().Ingresses(a.namespace).Delete(t.Context(), name+"-canary", metav1.DeleteOptions{}))
		}
		followed := map[string]bool{} // by versions
		east.wait("both versions serve the new path with the new filter, and the weight is followed", patience, func() bool {
			answer := a.served("/more")
			if strings.Contains(answer.Header.Get(exampleworld.RouteHeader), "more") && answer.Header.Get("X-Edited") == "true" {
				followed[answer.Version] = true
			}
			return followed[version] && followed[release] && (s.provider == "skipper" || a.recordWeights(a.host)["east"] == 50)
		})
		if !s.split {
			generated, err := east.Kube.NetworkingV1().Ingresses(a.namespace).Get(t.Context(), name+"-canary", metav1.GetOptions{})
			must(t, err)
			if len(generated.Spec.TLS) != 1 || generated.Spec.TLS[0].SecretName != "tls" {
				t.Errorf("the canary Ingress has the TLS section %v, want that of the apex Ingress", generated.Spec.TLS)
			}
		}
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		if got, want := east.weights(), []int{0, 20, 40}; !slices.Equal(got, want) {
			t.Errorf("the canary's weights were %v, want %v", got, want)
		}
		east.shares(map[int]map[traffic.Cell]float64{40: intended(40)})
		a.only(primary, release)
		a.untouched()
	})
}

// served resolves the host and asks for a path of it.
func (a *app) served(path string) exampleworld.Answer {
	a.t.Helper()
	answer, err := a.clients.Get(a.t.Context(), path)
	must(a.t, err)
	return answer
}
