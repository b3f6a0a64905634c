package e2e_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// TestRestartsInMidCanary: every Skipper is replaced, and external-dns, too, which is killed before a change that it has to make.
func TestRestartsInMidCanary(t *testing.T) {
	t.Parallel()
	setups := map[string]setup{"Skipper": skipperProvider, "Shared": sharedExternalDNS.exposing(50), "Split": splitExternalDNS}
	each(t, setups, func(t *testing.T, s setup) {
		a := newApp(t, s.judged())
		east := a.sites["east"]
		east.release(release, 0)
		east.wait("the second share is asked for", patience, func() bool { return east.history.last().weight() == 40 })
		if east.externalDNS != nil {
			east.externalDNS.Kill()
		}
		east.restartSkipper(0)
		if s.split {
			east.restartSkipper(1)
		}
		if east.externalDNS != nil {
			east.wait("there is a change to make", patience, func() bool { m := east.history.last(); return !m.exposed() && !m.observed.Done(m.desired) })
			<-time.After(10 * time.Second)
			if east.history.last().observed.Done(east.history.last().desired) {
				t.Error("a change is called effective that nobody published")
			}
			got, want := a.recordWeights(a.host), map[string]int{"east": 50}
			if s.split {
				got, want = a.innerWeights("east"), map[string]int{"primary": 80, "canary": 20}
			}
			if !maps.Equal(got, want) {
				t.Errorf("without external-dns the weights in DNS are %v, want %v, those of the first share", got, want)
			}
			east.startExternalDNS()
		}
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		east.shares(map[int]map[traffic.Cell]float64{40: intended(40)})
		a.wait("DNS is as it is without a canary", patience, a.restored)
		a.only(primary, release)
		a.untouched()
	})
}

// innerName is where the inner set is.
func (s *site) innerName() string { return s.Name + "._canary." + s.app.host }

// inTheWay has somebody create a record where the inner set is to be, or delete that.
func (s *site) inTheWay(action route53types.ChangeAction) error {
	_, err := route53.NewFromConfig(s.app.route53.Config("somebody")).ChangeResourceRecordSets(s.app.t.Context(), &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: &s.app.zoneID,
		ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{Action: action, ResourceRecordSet: &route53types.ResourceRecordSet{
			Name: aws.String(s.innerName()), Type: route53types.RRTypeCname, TTL: aws.Int64(5),
			ResourceRecords: []route53types.ResourceRecord{{Value: aws.String("elsewhere.example.com")}},
		}}}},
	})
	return err
}

// TestExternalDNSRejects: a record of somebody else is where the inner set should be. The canary waits and says why, and goes on when the
// record is gone.
func TestExternalDNSRejects(t *testing.T) {
	t.Parallel()
	a := newApp(t, splitExternalDNS)
	east := a.sites["east"]
	must(t, east.inTheWay(route53types.ChangeActionCreate))
	east.release(release, 0)
	east.wait("the canary says what it waits for", patience, func() bool {
		for _, event := range east.events() {
			if strings.Contains(event, "has no marker east._penstock.east._canary.") {
				return true
			}
		}
		return false
	})
	a.only(primary, version)
	if phase := east.history.last().phase; phase != flaggerv1.CanaryPhaseProgressing {
		t.Errorf("phase %s while external-dns is refused, want Progressing", phase)
	}
	if alerts := east.alerts("danger"); len(alerts) > 0 {
		t.Errorf("alerts of a step that waits: %q", alerts)
	}
	must(t, east.inTheWay(route53types.ChangeActionDelete))
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	a.untouched()
}

// TestRecordsOfSourceIngress: external-dns publishes a host from its Ingress, as it did before there was a Canary. Then the records become ours, and only then
// the annotation tells external-dns to leave the Ingress to us: DNS never answers that there is no such host.
func TestRecordsOfSourceIngress(t *testing.T) {
	t.Parallel()
	const controllerAnnotation = "external-dns.alpha.kubernetes.io/controller"
	each(t, map[string]setup{"ExternalDNS": sharedExternalDNS, "Route53": sharedRoute53}, func(t *testing.T, s setup) {
		a := prepareApp(t, s.with(func(c *flaggerv1.Canary) { c.Spec.Provider = "skipper" }))
		east := a.sites["east"]
		east.edit(name, func(i *networkingv1.Ingress) { delete(i.Annotations, controllerAnnotation) })
		if east.externalDNS != nil {
			east.externalDNS.Kill()
		}
		east.startExternalDNS("--source=ingress")
		simple, weighted := map[string]int{"": 0}, map[string]int{"east": 100}
		records := func(want map[string]int) func() bool {
			return func() bool { return maps.Equal(a.recordWeights(a.host), want) }
		}
		east.wait("external-dns publishes the Ingress", patience, records(simple))
		east.wait("the Canary is Initialized", patience, east.phase(flaggerv1.CanaryPhaseInitialized))
		<-time.After(2 * syncDelay) // what Route 53 has accepted is not answered at once
		a.startClients()

		east.env = []string{"PENSTOCK_ROUTE53_ADOPT_OWNER=east"}
		east.flagger.Kill()
		east.startFlagger()
		_, err := east.Flagger.FlaggerV1beta1().Canaries(a.namespace).Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"provider":"dns-weighted"}}`), metav1.PatchOptions{})
		must(t, err)
		if s.backend == "externaldns" {
			object := east.Dynamic.Resource(externaldns.Resource).Namespace(a.namespace)
			east.wait("the DNSEndpoint is there", patience, func() bool { _, err := object.Get(t.Context(), name, metav1.GetOptions{}); return err == nil })
		} else {
			east.wait("the records are ours", patience, records(weighted))
		}
		tried := east.changing()
		east.wait("external-dns tries to have both", patience, tried)
		east.edit(name, func(i *networkingv1.Ingress) { i.Annotations[controllerAnnotation] = "penstock" })
		east.wait("the records are ours", patience, records(weighted))
		east.release(release, 0)
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		a.only(primary, release)
		a.untouched()
		if !records(weighted)() {
			t.Errorf("in the end the host has the records %v, want %v", a.recordWeights(a.host), weighted)
		}
	})
}
