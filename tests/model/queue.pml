/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queue, the counts and the crash of the daemon, for spin. What docs/states.md says about
 * reserving, waiting, the way back and taking up after a restart, on two groups:
 *
 *   requester 0 wants both groups for itself, 1 the first one for itself, 2 and 3 share the second
 *
 * Everybody asks again and again. The daemon may die at every point between two of its writes, and
 * what it has in memory is gone then. Holders release, die, and keep files open after that.
 *
 * Checked: no two owners (1), nothing goes back to the host while a holder has it open (2), a group
 * changes hands only at count 0 (3), no deadlock, and who waits is served.
 *
 * NO_CHECK, NO_STORE, NO_ORDER, NO_WAIT leave out one rule each: each has to be found out.
 */

#define NR 4
#define NG 2
#ifndef CRASHES
#define CRASHES 1
#endif

mtype:group = { FREE, CLAIMING, OWNED, DRAINING };
mtype:lease = { NONE, QUEUED, HELD };
mtype:phase = { IDLE, ASKED, WAITS, USES, CLOSES };

#define WANTS(r, g)      ((r) == 0 || ((r) == 1 && (g) == 0) || ((r) >= 2 && (g) == 1))
#define SHARES(r)        ((r) >= 2)
#define AGREE(a, b)      ((a) == (b) || (SHARES(a) && SHARES(b)))
#define SERVES(g)        (state[g] == CLAIMING || state[g] == OWNED)

/* in memory: lost with the daemon */
mtype:group state[NG] = FREE;
byte owner[NG];         /* of the first lease that counts on it */
byte count[NG];
mtype:lease lease[NR] = NONE;
byte queue[NR];
byte queued;
byte i, j, k;
bool ok;

/* below /run: each is written on its own */
mtype:group stored_state[NG] = FREE;
byte stored_owner[NG];
mtype:lease stored_lease[NR] = NONE;
bool answered[NR];
byte order[NR];         /* ids of leases go up, so their files are in order of age */
byte ordered;

/* the kernel, and those who ask */
bool switched[NG];      /* taken from the host */
mtype:phase phase[NR] = IDLE;
bool lifeline[NR];      /* the requester has his end */
byte crashes = CRASHES;

inline remove_queue(r) {
        k = 0;
        do
        :: k < queued && queue[k] != r -> k++
        :: else -> break
        od;
        if
        :: k < queued ->
                do
                :: k + 1 < queued -> queue[k] = queue[k + 1]; k++
                :: else -> break
                od;
                queued--;
                queue[queued] = 0
        :: else
        fi;
        k = 0
}

inline remove_order(r) {
        k = 0;
        do
        :: k < ordered && order[k] != r -> k++
        :: else -> break
        od;
        if
        :: k < ordered ->
                do
                :: k + 1 < ordered -> order[k] = order[k + 1]; k++
                :: else -> break
                od;
                ordered--;
                order[ordered] = 0
        :: else
        fi;
        k = 0
}

/* May r have all its groups, if the first n of the queue are ahead of it? */
inline check(r, n) {
        ok = true;
        i = 0;
        do
        :: i < NG ->
                if
                :: WANTS(r, i) ->
#ifndef NO_CHECK
                        ok = ok && (state[i] == FREE || (SERVES(i) && AGREE(owner[i], r)));
#endif
#ifndef NO_ORDER
                        j = 0;
                        do
                        :: j < n ->
                                if
                                :: WANTS(queue[j], i) && !(SERVES(i) && AGREE(owner[i], queue[j])) ->
                                        ok = false
                                :: else
                                fi;
                                j++
                        :: else -> break
                        od
#endif
                :: else
                fi;
                i++
        :: else -> break
        od;
        i = 0;
        j = 0
}

inline take(r) {
        i = 0;
        do
        :: i < NG ->
                if
                :: WANTS(r, i) ->
                        if
                        :: state[i] == FREE ->
                                assert(count[i] == 0);
                                state[i] = CLAIMING;
                                owner[i] = r
                        :: else
                        fi;
                        count[i]++
                :: else
                fi;
                i++
        :: else -> break
        od;
        i = 0;
        lease[r] = HELD
}

inline write_groups(r) {
        i = 0;
        do
        :: i < NG ->
                if
                :: WANTS(r, i) ->
                        stored_state[i] = state[i];
                        stored_owner[i] = owner[i]
                :: else
                fi;
                i++
        :: else -> break
        od;
        i = 0
}

inline write_lease(r, what) {
        stored_lease[r] = what;
        if
        :: what == NONE -> remove_order(r); answered[r] = false
        :: else
        fi
}

/* The right of r goes, or its place in the queue. */
inline end(r) {
        if
        :: lease[r] == QUEUED -> remove_queue(r)
        :: else ->
                i = 0;
                do
                :: i < NG ->
                        if
                        :: WANTS(r, i) ->
                                count[i]--;
                                if
                                :: count[i] == 0 -> state[i] = DRAINING
                                :: else
                                fi
                        :: else
                        fi;
                        i++
                :: else -> break
                od;
                i = 0
        fi;
        lease[r] = NONE
}

/* What the store says becomes the state again. */
inline adopt() {
        i = 0;
        do
        :: i < NG ->
                state[i] = stored_state[i];
                owner[i] = stored_owner[i];
                count[i] = 0;
                i++
        :: else -> break
        od;
        queued = 0;
        i = 0;
        do
        :: i < NR ->
                queue[i] = 0;
                lease[i] = NONE;
                if
                :: stored_lease[i] != NONE && !answered[i] -> write_lease(i, NONE)
                :: else
                fi;
                i++
        :: else -> break
        od;
        /* by age */
        i = 0;
        do
        :: i < ordered ->
                if
                :: stored_lease[order[i]] == QUEUED ->
                        lease[order[i]] = QUEUED;
                        queue[queued] = order[i];
                        queued++
                :: stored_lease[order[i]] == HELD ->
                        ok = true;
                        j = 0;
                        do
                        :: j < NG ->
                                if
                                :: WANTS(order[i], j) && !(SERVES(j) && AGREE(owner[j], order[i])) ->
                                        ok = false /* lost */
                                :: else
                                fi;
                                j++
                        :: else -> break
                        od;
                        j = 0;
                        do
                        :: j < NG ->
                                if
                                :: ok && WANTS(order[i], j) -> count[j]++; lease[order[i]] = HELD
                                :: else
                                fi;
                                j++
                        :: else -> break
                        od;
                        j = 0
                fi;
                i++
        :: else -> break
        od;
        /* files of leases that are lost go; nobody counts on what is left */
        i = 0;
        do
        :: i < NR ->
                if
                :: stored_lease[i] == HELD && lease[i] == NONE -> write_lease(i, NONE)
                :: else
                fi;
                i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < NG ->
                if
                :: SERVES(i) && count[i] == 0 -> state[i] = DRAINING
                :: else
                fi;
                i++
        :: else -> break
        od;
        i = 0;
        ok = false
}

#define ALL_OWNED(r) ((!WANTS(r, 0) || state[0] == OWNED) && (!WANTS(r, 1) || state[1] == OWNED))
/* A holder's files keep a group of user mode open; a kernel driver goes when it is told to. */
#define OPEN(g) ((phase[0] == USES || phase[0] == CLOSES) || \
                 ((phase[1] == USES || phase[1] == CLOSES) && (g) == 0))

#define MAY_DIE if :: crashes > 0 -> crashes--; goto died :: true fi

/* What the daemon does next is for it to choose. To be fair to all it may not put off steps for
 * ever, which spin cannot be told of choices: there they come first. */
#define CLAIMS(g)   (state[g] == CLAIMING)
#ifdef NO_WAIT
#define RESTORES(g) (state[g] == DRAINING)
#else
#define RESTORES(g) (state[g] == DRAINING && !OPEN(g))
#endif
#define LEFT(r)     (lease[r] != NONE && !lifeline[r])
#ifdef FAIR
#define STEPS       (CLAIMS(0) || CLAIMS(1) || RESTORES(0) || RESTORES(1))
#define CALM        (!STEPS && !LEFT(0) && !LEFT(1) && !LEFT(2) && !LEFT(3))
#else
#define STEPS       false
#define CALM        true
#endif

active proctype daemon() {
        byte r, g;

died:
        atomic {
                /* whoever waits for an answer is told that there is none */
                r = 0;
                do
                :: r < NR ->
                        if
                        :: phase[r] == ASKED -> phase[r] = IDLE
                        :: else
                        fi;
                        r++
                :: else -> break
                od;
                r = 0;
                g = 0;
                adopt()
        }
        goto serve;

idle:
        if
        :: atomic { CALM && phase[0] == ASKED -> r = 0; goto ask }
        :: atomic { CALM && phase[1] == ASKED -> r = 1; goto ask }
        :: atomic { CALM && phase[2] == ASKED -> r = 2; goto ask }
        :: atomic { CALM && phase[3] == ASKED -> r = 3; goto ask }
        :: atomic { !STEPS && LEFT(0) -> r = 0; goto gone }
        :: atomic { !STEPS && LEFT(1) -> r = 1; goto gone }
        :: atomic { !STEPS && LEFT(2) -> r = 2; goto gone }
        :: atomic { !STEPS && LEFT(3) -> r = 3; goto gone }
        :: atomic { CLAIMS(0) -> g = 0; goto claim }
        :: atomic { CLAIMS(1) -> g = 1; goto claim }
        :: atomic { RESTORES(0) -> g = 0; goto restore }
        :: atomic { RESTORES(1) -> g = 1; goto restore }
        fi;

ask:
        atomic {
                check(r, queued);
                if
                :: ok -> take(r)
                :: else -> lease[r] = QUEUED; queue[queued] = r; queued++
                fi;
                ok = false;
                if
                :: lease[r] == HELD -> write_groups(r)
                :: else
                fi;
                MAY_DIE
        }
        atomic {
#ifdef NO_STORE
                answered[r] = true;
#else
                stored_lease[r] = lease[r];
                order[ordered] = r;
                ordered++;
                MAY_DIE;
                answered[r] = true;
                MAY_DIE;
#endif
                lifeline[r] = true;
                phase[r] = WAITS;
                r = 0
        }
        goto serve;

gone:
        atomic {
                if
                :: lease[r] == HELD -> end(r); write_groups(r)
                :: else -> end(r)
                fi;
                MAY_DIE
        }
        atomic { write_lease(r, NONE); r = 0 }
        goto serve;

claim:
        atomic {
                /* intent is written already; the kernel is asked, and then it is written that it did */
                assert(!switched[g] || count[g] > 0);
                switched[g] = true;
                MAY_DIE
        }
        atomic { state[g] = OWNED; stored_state[g] = OWNED; g = 0 }
        goto serve;

restore:
        atomic {
                assert(count[g] == 0);
                assert(!OPEN(g));
                switched[g] = false;
                MAY_DIE
        }
        atomic { state[g] = FREE; stored_state[g] = FREE; owner[g] = 0; stored_owner[g] = 0; g = 0 }

serve:
        atomic {
                g = 0;
                do
                :: g < queued ->
                        check(queue[g], g);
                        if
                        :: ok -> r = queue[g]; break
                        :: else -> g++
                        fi
                :: else -> break
                od;
                if
                :: ok ->
                        remove_queue(r);
                        take(r);
                        write_groups(r);
                        ok = false;
                        g = 0;
                        MAY_DIE; /* the lease is stored as queued until it is known that it can begin */
                        stored_lease[r] = HELD;
                        MAY_DIE;
                        r = 0
                :: else -> g = 0; r = 0; goto idle
                fi
        }
        goto serve;

}

/* Two who do not agree have the same group. */
#define HAS(r)        (phase[r] == USES || (phase[r] == CLOSES && !SHARES(r)))
#define COLLIDE(a, b) (HAS(a) && HAS(b) && !AGREE(a, b))
#define TWO_OWNERS    (COLLIDE(0, 1) || COLLIDE(0, 2) || COLLIDE(0, 3))

proctype requester(byte r) {
        do
        /* its former lease is over, and it knows */
        :: atomic { phase[r] == IDLE && lease[r] == NONE && stored_lease[r] == NONE ->
                phase[r] = ASKED }
        :: atomic { phase[r] == WAITS && lease[r] == HELD && ALL_OWNED(r) ->
                phase[r] = USES; assert(!TWO_OWNERS) }
        /* gives up, or dies, or its time is over; requester 0 is patient */
        :: atomic { r != 0 && phase[r] == WAITS -> lifeline[r] = false; phase[r] = IDLE }
        /* releases or dies; a child may keep the files open a little longer */
        :: atomic { phase[r] == USES -> lifeline[r] = false; phase[r] = CLOSES }
        :: atomic { phase[r] == CLOSES -> phase[r] = IDLE }
        od
}

init {
        atomic {
                run requester(0);
                run requester(1);
                run requester(2);
                run requester(3)
        }
}

ltl served { [] (phase[0] == WAITS -> <> (phase[0] == USES)) }
