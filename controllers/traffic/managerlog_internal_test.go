package traffic

import (
	"errors"
	"testing"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A leader that is told to end says so without an error. What else goes wrong then stays one, with its stack.
func TestTheEndOfALeaderIsNoError(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	log := zapr.NewLogger(zap.New(core, zap.AddStacktrace(zapcore.ErrorLevel), zap.WrapCore(newManagerCore))).WithName("manager").WithValues("cluster", cluster)
	for _, tc := range []struct {
		err, message string
		level        zapcore.Level
		want         string
	}{
		{endReason, endMessage, zapcore.InfoLevel, "the lease is given up"},
		{"a server does not end", endMessage, zapcore.ErrorLevel, endMessage},
		{endReason, "another message", zapcore.ErrorLevel, "another message"},
	} {
		log.Error(errors.New(tc.err), tc.message)
		got := logs.TakeAll()
		if len(got) != 1 || got[0].Level != tc.level || got[0].Message != tc.want || got[0].ContextMap()["cluster"] != cluster || (got[0].Stack != "") != (tc.level == zapcore.ErrorLevel) {
			t.Errorf("%s: %s is logged as %+v", tc.message, tc.err, got)
		}
	}
}
