package route53emulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// A change is PENDING first, and INSYNC when all name servers have it.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
func TestChangeIsServedWhenInSync(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: 30 * time.Second})
	info := f.mustChange(create(a("www.example.com", "192.0.2.1")))
	if info.Status != types.ChangeStatusPending || !info.SubmittedAt.Equal(f.clock.Now()) {
		t.Errorf("ChangeResourceRecordSets returned %s submitted at %s, want PENDING at %s", info.Status, info.SubmittedAt, f.clock.Now())
	}
	if diff := cmp.Diff([]string{"www.example.com. A"}, f.listed()); diff != "" {
		t.Errorf("ListResourceRecordSets includes what is PENDING -want +got:\n%s", diff)
	}
	f.clock.Advance(30*time.Second - time.Nanosecond)
	if got, m := f.status(info), f.query("www.example.com", mdns.TypeA); got != types.ChangeStatusPending || m.Rcode != mdns.RcodeNameError {
		t.Errorf("just before the delay: %s and %s, want PENDING and NXDOMAIN", got, mdns.RcodeToString[m.Rcode])
	}
	f.clock.Advance(time.Nanosecond)
	if got, m := f.status(info), f.query("www.example.com", mdns.TypeA); got != types.ChangeStatusInsync || len(m.Answer) != 1 {
		t.Errorf("after the delay: %s and %v, want INSYNC and an answer", got, m.Answer)
	}
}

func TestChangesInFlightBecomeVisibleOneByOne(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: 30 * time.Second})
	for i, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		f.mustChange(upsert(a("www.example.com", address)))
		if i < 2 {
			f.clock.Advance(10 * time.Second)
		}
	}
	for _, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		f.clock.Advance(10 * time.Second)
		if diff := cmp.Diff([]string{"www.example.com. 60 IN A " + want}, answers(f.query("www.example.com", mdns.TypeA))); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestLaterChangeIsNotReadyBeforeEarlierOne(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: time.Minute})
	first := f.mustChange(create(a("a.example.com", "192.0.2.1")))
	f.SetSyncDelay(0)
	second := f.mustChange(create(a("b.example.com", "192.0.2.1")))
	if got := f.status(second); got != types.ChangeStatusPending {
		t.Errorf("the second change is %s while the first, which its state contains, is %s", got, f.status(first))
	}
	f.clock.Advance(time.Minute)
	if got := f.status(second); got != types.ChangeStatusInsync {
		t.Errorf("the second change is %s after the delay of the first", got)
	}
}

// A change is INSYNC when it has propagated to all name servers.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeInfo.html
func TestLaggingNameServer(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: 10 * time.Second, NameServers: 2, Lag: []time.Duration{0, 20 * time.Second}})
	info := f.mustChange(create(a("www.example.com", "192.0.2.1")))
	for _, step := range []struct {
		after      time.Duration
		served     [2]bool
		wantStatus types.ChangeStatus
	}{
		{9 * time.Second, [2]bool{false, false}, types.ChangeStatusPending},
		{time.Second, [2]bool{true, false}, types.ChangeStatusPending},
		{20 * time.Second, [2]bool{true, true}, types.ChangeStatusInsync},
	} {
		f.clock.Advance(step.after)
		for i, server := range f.NameServers() {
			m := f.queryAt(server, "udp", new(mdns.Msg).SetQuestion("www.example.com.", mdns.TypeA))
			if got := len(m.Answer) == 1; got != step.served[i] {
				t.Errorf("name server %d serves the change: %t, want %t", i, got, step.served[i])
			}
		}
		if got := f.status(info); got != step.wantStatus {
			t.Errorf("the change is %s, want %s", got, step.wantStatus)
		}
	}
}

func TestHoldChanges(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: 10 * time.Second})
	f.HoldChanges(true)
	info := f.mustChange(create(a("www.example.com", "192.0.2.1")))
	f.clock.Advance(time.Hour)
	if got := f.status(info); got != types.ChangeStatusPending {
		t.Errorf("a held change is %s", got)
	}
	f.HoldChanges(false)
	if got := f.status(info); got != types.ChangeStatusPending {
		t.Errorf("a change that was just released is %s, want its delay to begin", got)
	}
	f.clock.Advance(10 * time.Second)
	if got, m := f.status(info), f.query("www.example.com", mdns.TypeA); got != types.ChangeStatusInsync || len(m.Answer) != 1 {
		t.Errorf("a released change is %s and answers %v", got, m.Answer)
	}
}

// An unknown change is NoSuchChange, with HTTP 404.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
func TestNoSuchChange(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{ChangeRetention: time.Hour})
	get := func(id *string) string {
		_, err := f.sdk.GetChange(t.Context(), &route53.GetChangeInput{Id: id})
		return code(t, err)
	}
	if got := get(aws.String("CUNKNOWN")); got != "NoSuchChange" {
		t.Errorf("an unknown change: %q", got)
	}
	info := f.mustChange(create(a("www.example.com", "192.0.2.1")))
	if got := get(info.Id); got != "" {
		t.Errorf("a known change: %q", got)
	}
	f.clock.Advance(time.Hour)
	if got := get(info.Id); got != "NoSuchChange" {
		t.Errorf("an expired change: %q", got)
	}
	info = f.mustChange(create(a("b.example.com", "192.0.2.1")))
	f.ForgetChanges()
	if got := get(info.Id); got != "NoSuchChange" {
		t.Errorf("a forgotten change: %q", got)
	}
}
