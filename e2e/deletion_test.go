package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// delete deletes the Canary, and waits until it is gone.
func (s *site) delete() {
	t := s.app.t
	t.Helper()
	api := s.Flagger.FlaggerV1beta1().Canaries(s.app.namespace)
	if err := api.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wait("the Canary is gone", patience, func() bool {
		_, err := api.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// TestDeletion deletes the Canary with revertOnDeletion in every phase: traffic ends on the target, at the version that it runs.
func TestDeletion(t *testing.T) {
	t.Parallel()
	revert := func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true }
	for label, s := range map[string]setup{
		"Skipper": {provider: "skipper", change: revert},
		"Shared":  {provider: "dns-weighted", backend: "route53", change: revert},
		"Split":   {provider: "dns-weighted", backend: "route53", split: true},
	} {
		for phase, tc := range map[string]struct {
			when func(s *site)
			ends string // the version that the target runs
		}{
			"Initialized": {func(*site) {}, version},
			"MidCanary": {func(s *site) {
				s.release(release, 0)
				s.wait("the canary has its first share", patience, s.atWeight(20))
			}, release},
			"Succeeded": {func(s *site) {
				s.release(release, 0)
				s.app.ends(flaggerv1.CanaryPhaseSucceeded)
			}, release},
		} {
			t.Run(label+phase, func(t *testing.T) {
				t.Parallel()
				a := newApp(t, s)
				east := a.sites["east"]
				tc.when(east)
				east.delete()
				<-time.After(settle + syncDelay + ttl)
				a.only(traffic.Cell{Cluster: "east", Version: tc.ends})
				a.failures()
				a.nothingLeft(east)
			})
		}
	}
}

// nothingLeft checks that what was generated is gone.
func (a *app) nothingLeft(s *site) {
	a.t.Helper()
	want := []string{name}
	if a.setup.split {
		want = append(want, next)
	}
	ingresses, err := s.Kube.NetworkingV1().Ingresses(a.namespace).List(a.t.Context(), metav1.ListOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	var got []string
	for _, i := range ingresses.Items {
		got = append(got, i.Name)
	}
	if !slices.Equal(got, want) {
		a.t.Errorf("ingresses %v, want %v", got, want)
	}
	for _, set := range a.route53.RecordSets(a.zoneID) {
		if strings.Contains(aws.ToString(set.Name), "_canary.") {
			a.t.Errorf("a record of the inner set is left: %s %s", aws.ToString(set.Name), set.Type)
		}
	}
}

// TestDeletionWithoutRevert: Flagger leaves everything as it is, and Kubernetes collects what the Canary owns, primary among it. No record of
// DNS leads to what does not exist.
func TestDeletionWithoutRevert(t *testing.T) {
	t.Parallel()
	t.Run("Shared", func(t *testing.T) {
		t.Parallel()
		a := newApp(t, sharedRoute53)
		east := a.sites["east"]
		east.release(release, 0)
		east.wait("the canary has its first share", patience, east.atWeight(20))
		east.delete()
		<-time.After(syncDelay + ttl)
		for _, set := range a.route53.RecordSets(a.zoneID) {
			if set.Type != route53types.RRTypeA {
				continue
			}
			if got := aws.ToString(set.ResourceRecords[0].Value); aws.ToString(set.Name) != a.host+"." || got != east.addresses[0].String() {
				t.Errorf("record %s leads to %s, want the host alone, at its load balancer", aws.ToString(set.Name), got)
			}
		}
	})
	t.Run("SplitIsRefused", func(t *testing.T) {
		t.Parallel()
		a := prepareApp(t, setup{provider: "dns-weighted", backend: "route53", split: true, change: func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = false }})
		east := a.sites["east"]
		east.wait("the Canary says why it is refused", 2*time.Minute, east.said("spec.revertOnDeletion"))
		if phase := east.history.last().phase; phase == flaggerv1.CanaryPhaseInitialized {
			t.Errorf("phase %s", phase)
		}
	})
}
