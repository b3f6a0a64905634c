package route53emulator_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/vclock"
)

// A change is made with the SDK, waited for on a virtual clock, and asked for by DNS.
func Example() {
	clock := vclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	server, err := route53emulator.New(route53emulator.Options{Clock: clock, SyncDelay: 30 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := server.Close(); err != nil {
			fmt.Println(err)
		}
	}()
	zone, err := server.AddZone("example.com")
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	client := route53.NewFromConfig(server.Config("AKIDEXAMPLE"))
	out, err := client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: &zone,
		ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{
			Action: types.ChangeActionUpsert,
			ResourceRecordSet: &types.ResourceRecordSet{
				Name: aws.String("www.example.com"), Type: types.RRTypeA, TTL: aws.Int64(60),
				SetIdentifier: aws.String("east"), Weight: aws.Int64(100),
				ResourceRecords: []types.ResourceRecord{{Value: aws.String("192.0.2.1")}},
			},
		}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		change, err := client.GetChange(ctx, &route53.GetChangeInput{Id: out.ChangeInfo.Id})
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := mdns.ExchangeContext(ctx, new(mdns.Msg).SetQuestion("www.example.com.", mdns.TypeA), server.NameServers()[0])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(change.ChangeInfo.Status, mdns.RcodeToString[answer.Rcode], len(answer.Answer))
		clock.Advance(30 * time.Second)
	}
	// Output:
	// PENDING NXDOMAIN 0
	// INSYNC NOERROR 1
}
