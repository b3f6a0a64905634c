package traffic

import (
	"slices"

	"go.uber.org/zap/zapcore"
)

// What a manager logs, as an error, when it is told to end while it leads: it gives up its lease, and then finds that it has lost it.
// https://pkg.go.dev/sigs.k8s.io/controller-runtime/pkg/manager
const (
	endMessage = "error received after stop sequence was engaged"
	endReason  = "leader election lost"
)

// managerCore is the core of a manager's log, in which the ordinary end of a leader is no error.
type managerCore struct{ zapcore.Core }

func newManagerCore(core zapcore.Core) zapcore.Core { return managerCore{core} }

// With implements zapcore.Core.
func (c managerCore) With(fields []zapcore.Field) zapcore.Core {
	return managerCore{c.Core.With(fields)}
}

// Check implements zapcore.Core.
func (c managerCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Message != endMessage {
		return c.Core.Check(entry, checked)
	}
	return checked.AddCore(entry, c)
}

// Write implements zapcore.Core.
func (c managerCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if slices.ContainsFunc(fields, isEnd) {
		entry.Level, entry.Message, entry.Stack, fields = zapcore.InfoLevel, "the lease is given up", "", nil
	}
	if !c.Enabled(entry.Level) {
		return nil
	}
	return c.Core.Write(entry, fields) //nolint:wrapcheck // it stands in for the core
}

func isEnd(field zapcore.Field) bool {
	err, ok := field.Interface.(error)
	return ok && err.Error() == endReason
}
