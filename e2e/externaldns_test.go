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

// TestExternalDNSRejects: a record of somebody else is where the inner set should be. The canary waits and says why, and goes on when the
// record is gone.
func TestExternalDNSRejects(t *testing.T) {
	t.Parallel()
	a := newApp(t, splitExternalDNS)
	east := a.sites["east"]
	client := route53.NewFromConfig(a.route53.Config("somebody"))
	inTheWay := func(action route53types.ChangeAction) {
		t.Helper()
		_, err := client.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: &a.zoneID,
			ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{Action: action, ResourceRecordSet: &route53types.ResourceRecordSet{
				Name: aws.String("east._canary." + a.host), Type: route53types.RRTypeCname, TTL: aws.Int64(5),
				ResourceRecords: []route53types.ResourceRecord{{Value: aws.String("elsewhere.example.com")}},
			}}}},
		})
		must(t, err)
	}
	inTheWay(route53types.ChangeActionCreate)
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
	inTheWay(route53types.ChangeActionDelete)
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	a.untouched()
}
