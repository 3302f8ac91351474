package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const stateStatement = `
select pg_is_in_recovery(),
       not pg_is_in_recovery() and not current_setting('default_transaction_read_only')::bool,
       (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end - '0/0')::bigint,
       exists (select from pg_stat_wal_receiver)`

// checkRole checks whether the host is a writable primary or a standby that receives WAL.
func (h *dataHost) checkRole(ctx context.Context) []finding {
	return withDeadline(h.deadline, h.address.String()+", role in the tier", func(ctx context.Context) finding {
		var st state
		f := h.query(ctx, h.roles()[0], func(ctx context.Context, conn *sql.Conn) finding {
			if err := conn.QueryRowContext(ctx, stateStatement).Scan(&st.standby, &st.writable, &st.walPosition, &st.receiving); err != nil {
				return h.queryFailure(err)
			}
			switch {
			case st.standby && !st.receiving:
				return finding{Verdict: verdictWrong, Found: "a standby that receives no WAL from its primary",
					Fix: fmt.Sprintf("on %s, check that STANDBY_OF names the primary and that its port is reachable from there; see the log", h.address.host)}
			case st.standby:
				return finding{Verdict: verdictOK, Found: "a standby that follows its primary"}
			case !st.writable:
				return finding{Verdict: verdictWrong, Found: "a read-only primary", Fix: "reset default_transaction_read_only; select * from pg_db_role_setting shows where it is set"}
			}
			return finding{Verdict: verdictOK, Found: "the primary, writable"}
		})
		h.update(func() { h.known, h.state = f.Verdict == verdictOK || st.standby, st })
		return f
	})(ctx)
}

// maxSkew is the maximum difference of two clocks. Leases and sessions expire by them.
const maxSkew = time.Second

// checkClock compares the host's clock with this host's.
func (h *dataHost) checkClock(ctx context.Context) []finding {
	return withDeadline(h.deadline, h.address.String()+", clock", func(ctx context.Context) finding {
		return h.query(ctx, h.roles()[0], func(ctx context.Context, conn *sql.Conn) finding {
			var skew time.Duration
			roundTrip := time.Duration(-1)
			// The fastest query gives the best estimate: its error is at most half its duration.
			for range 5 {
				var remote time.Time
				sent := time.Now()
				if err := conn.QueryRowContext(ctx, `select clock_timestamp()`).Scan(&remote); err != nil {
					return h.queryFailure(err)
				}
				if took := time.Since(sent); roundTrip < 0 || took < roundTrip {
					roundTrip, skew = took, remote.Sub(sent.Add(took/2))
				}
			}
			found := fmt.Sprintf("%s from this host's, ± %s", skew.Round(10*time.Microsecond), (roundTrip / 2).Round(10*time.Microsecond))
			if skew.Abs()-roundTrip/2 > maxSkew {
				return finding{Verdict: verdictWrong, Found: found, Fix: "synchronise the clocks of both hosts by NTP: timedatectl set-ntp true; check with timedatectl timesync-status"}
			}
			return finding{Verdict: verdictOK, Found: found}
		})
	})(ctx)
}
