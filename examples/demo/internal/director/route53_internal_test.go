package director

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func weighted(name, identifier string, weight int64, address string) types.ResourceRecordSet {
	return types.ResourceRecordSet{
		Name: aws.String(name), Type: types.RRTypeA, SetIdentifier: aws.String(identifier), Weight: aws.Int64(weight), TTL: aws.Int64(1),
		ResourceRecords: []types.ResourceRecord{{Value: aws.String(address)}},
	}
}

func TestSharesOfRecords(t *testing.T) {
	t.Parallel()
	r, err := newRoute53(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := r.shares(); err == nil || !strings.Contains(err.Error(), Host) {
		t.Errorf("shares of an empty zone: %v, want an error that names %s", err, Host)
	}

	const inner = "east._canary." + Host
	if err := r.emulator.Seed(r.zoneID,
		weighted(inner, "primary", 75, "192.0.2.10"), weighted(inner, "canary", 25, "192.0.2.20"), weighted(Host, "west", 40, "198.51.100.10"),
		types.ResourceRecordSet{
			Name: aws.String(Host), Type: types.RRTypeA, SetIdentifier: aws.String("east"), Weight: aws.Int64(60),
			AliasTarget: &types.AliasTarget{DNSName: aws.String(inner), HostedZoneId: aws.String(r.zoneID), EvaluateTargetHealth: true},
		},
		// A TXT record of the same name says nothing about shares.
		types.ResourceRecordSet{
			Name: aws.String(Host), Type: types.RRTypeTxt, TTL: aws.Int64(1),
			ResourceRecords: []types.ResourceRecord{{Value: aws.String(`"owner"`)}},
		},
	); err != nil {
		t.Fatal(err)
	}
	got, err := r.shares()
	want := map[string]clusterShare{"east": {ofAll: 0.6, canary: 0.25}, "west": {ofAll: 0.4}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(clusterShare{})); err != nil || diff != "" {
		t.Errorf("shares: %v, -want +got:\n%s", err, diff)
	}
}

func TestIntendedState(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason         string
		opts           Options
		phase          string
		canary         int
		wantExposure   int
		wantRecord     int
		clusterPercent int
	}{
		"Idle":       {reason: "Without a canary the cluster has all of its weight.", opts: Options{Mode: Shared, Exposure: 30, Steps: []int{10, 60}}, phase: "Initialized", clusterPercent: 60, wantExposure: 100, wantRecord: 60},
		"First step": {reason: "The first step has the exposure that was asked for.", opts: Options{Mode: Shared, Exposure: 30, Steps: []int{10, 60}}, phase: "Progressing", canary: 10, clusterPercent: 60, wantExposure: 30, wantRecord: 18},
		"Half way":   {reason: "It grows in a straight line, rounded up: 30 + 70 x 20/50.", opts: Options{Mode: Shared, Exposure: 30, Steps: []int{10, 30, 60}}, phase: "Progressing", canary: 30, clusterPercent: 60, wantExposure: 58, wantRecord: 35},
		"Last step":  {reason: "The last step has all.", opts: Options{Mode: Shared, Exposure: 30, Steps: []int{10, 60}}, phase: "Progressing", canary: 60, clusterPercent: 60, wantExposure: 100, wantRecord: 60},
		"Tiny":       {reason: "What is not zero never becomes zero.", opts: Options{Mode: Shared, Exposure: 1, Steps: []int{10, 60}}, phase: "Progressing", canary: 10, clusterPercent: 1, wantExposure: 1, wantRecord: 1},
		"Split":      {reason: "Split mode has no exposure.", opts: Options{Mode: Split, Exposure: 100, Steps: []int{10, 60}}, phase: "Progressing", canary: 10, clusterPercent: 60, wantExposure: 100, wantRecord: 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{name: "east", opts: tc.opts, weight: tc.clusterPercent}
			got := s.state(flaggerv1.CanaryPhase(tc.phase), tc.canary)
			if got.Exposure != tc.wantExposure || got.Record != tc.wantRecord || got.Primary+got.Canary != 100 {
				t.Errorf("%s\nstate = %+v, want exposure %d and record weight %d", tc.reason, got, tc.wantExposure, tc.wantRecord)
			}
		})
	}
}
