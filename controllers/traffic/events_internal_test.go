package traffic

import (
	"context"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
)

// sink is the API server for events.
type sink struct{ created, counted chan string }

func (s sink) Create(_ context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	s.created <- event.Note
	return event, nil
}

func (s sink) Update(context.Context, *eventsv1.Event) (*eventsv1.Event, error) { panic("not used") }

func (s sink) Patch(_ context.Context, event *eventsv1.Event, _ []byte) (*eventsv1.Event, error) {
	s.counted <- event.Note
	return event, nil
}

// Kubernetes counts an event up that is like one before, and keeps the note of that. People would read a reason that is mended, so another note is another
// event.
func TestAnotherNoteIsAnotherEvent(t *testing.T) {
	t.Parallel()
	server := sink{make(chan string, 1), make(chan string, 1)}
	broadcaster := events.NewBroadcaster(server)
	defer broadcaster.Shutdown()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	a := newAnnouncer(broadcaster.NewRecorder(clientgoscheme.Scheme, "penstock"), types.NamespacedName{Namespace: "penstock", Name: "controller-1"})
	for _, step := range []struct {
		note string
		new  bool
	}{{"DesiredWeight is -5", true}, {"away", true}, {"DesiredWeight is -5", false}} {
		a.controller("StoreFailed", step.note)
		select {
		case note := <-server.created:
			if note != step.note || !step.new {
				t.Errorf("%q is an event with the note %q, want a new one: %t", step.note, note, step.new)
			}
		case note := <-server.counted:
			if note != step.note || step.new {
				t.Errorf("%q counts the event %q, want a new one: %t", step.note, note, step.new)
			}
		}
	}
}
