package director

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// route53 is the Route 53 of the demo: an API that the clusters' publishers write to, and a DNS server that users ask.
type route53 struct {
	emulator *route53emulator.Server
	zoneID   string
}

func newRoute53(seed uint64) (*route53, error) {
	emulator, err := route53emulator.New(route53emulator.Options{SyncDelay: SyncDelay, Seed: seed})
	if err != nil {
		return nil, fmt.Errorf("start route 53: %w", err)
	}
	r := &route53{emulator: emulator}
	if r.zoneID, err = emulator.AddZone(zone); err != nil {
		_ = emulator.Close() // the error that counts is at hand
		return nil, fmt.Errorf("start route 53: %w", err)
	}
	return r, nil
}

// client returns an API client with credentials of its own.
func (r *route53) client(name string) *sdk.Client { return sdk.NewFromConfig(r.emulator.Config(name)) }

func (r *route53) dnsAddress() string { return r.emulator.NameServers()[0] }

func (r *route53) close() error {
	if err := r.emulator.Close(); err != nil {
		return fmt.Errorf("stop route 53: %w", err)
	}
	return nil
}

// clusterShare is what records give a cluster, and its canary of that, 0 to 1.
type clusterShare struct{ ofAll, canary float64 }

// shares reads the record sets of the host as a person would: the weights of its own set are the clusters', and where a cluster's
// record points at another name, the weights there are those of primary and canary.
func (r *route53) shares() (map[string]clusterShare, error) {
	sets := r.emulator.RecordSets(r.zoneID)
	hosts := named(sets, Host)
	total := int64(0)
	for _, set := range hosts {
		total += aws.ToInt64(set.Weight)
	}
	if total == 0 {
		return nil, fmt.Errorf("%s has no A records with weights", Host)
	}
	shares := map[string]clusterShare{}
	for _, set := range hosts {
		share := clusterShare{ofAll: float64(aws.ToInt64(set.Weight)) / float64(total)}
		if set.AliasTarget != nil {
			canary, all := int64(0), int64(0)
			for _, inner := range named(sets, aws.ToString(set.AliasTarget.DNSName)) {
				all += aws.ToInt64(inner.Weight)
				if strings.HasSuffix(aws.ToString(inner.SetIdentifier), "canary") {
					canary += aws.ToInt64(inner.Weight)
				}
			}
			if all == 0 {
				return nil, fmt.Errorf("%s has no A records with weights", aws.ToString(set.AliasTarget.DNSName))
			}
			share.canary = float64(canary) / float64(all)
		}
		shares[aws.ToString(set.SetIdentifier)] = share
	}
	return shares, nil
}

// named returns the A records of a name.
func named(sets []types.ResourceRecordSet, name string) []types.ResourceRecordSet {
	return slices.DeleteFunc(slices.Clone(sets), func(set types.ResourceRecordSet) bool {
		return set.Type != types.RRTypeA || strings.TrimSuffix(aws.ToString(set.Name), ".") != strings.TrimSuffix(name, ".")
	})
}
