/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "shared/vfio-file.h"
#include "util/json.h"
#include "util/strings.h"

#define NIC "0000:3b:00.0"

static int some_fd(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

static void test_files_own_their_descriptors(void **state) {
        VfioFiles files = VFIO_FILES_NULL, copy = VFIO_FILES_NULL;
        int iommufd = some_fd(), cdev = some_fd(), copied;

        assert_int_equal(vfio_files_add(&files, FILE_IOMMUFD, NULL, iommufd), 0);
        assert_false(vfio_files_have_device(&files));
        assert_int_equal(vfio_files_add(&files, FILE_CDEV, NIC, cdev), 0);
        assert_true(vfio_files_have_device(&files));
        assert_int_equal(vfio_files_get(&files, FILE_CDEV, NULL), cdev);
        assert_int_equal(vfio_files_get(&files, FILE_CDEV, NIC), cdev);
        assert_int_equal(vfio_files_get(&files, FILE_CDEV, "0000:3b:00.1"), -EBADF);
        assert_int_equal(vfio_files_get(&files, FILE_GROUP, NULL), -EBADF);
        assert_int_equal(vfio_files_copy(&files, &copy), 0);
        copied = vfio_files_get(&copy, FILE_CDEV, NIC);
        assert_true(copied != cdev);
        vfio_files_clear(&files);
        assert_false(is_open(cdev));
        assert_true(is_open(copied));
        vfio_files_clear(&copy);
        assert_false(is_open(copied));
}

static void test_no_more_than_a_packet_takes(void **state) {
        VfioFiles files = VFIO_FILES_NULL;
        int last = some_fd();

        for (unsigned i = 0; i < PACKET_FDS_MAX; i++)
                assert_int_equal(vfio_files_add(&files, FILE_CDEV, NIC, some_fd()), 0);
        assert_int_equal(vfio_files_add(&files, FILE_CDEV, NIC, last), -E2BIG);
        assert_true(is_open(last));
        (void)close(last);
        vfio_files_clear(&files);
}

/* Sends files over a socket pair; -errno of what the receiver makes of list and descriptors. */
static int pass_on(const VfioFiles *files, const char *list, VfioFiles *ret) {
        _cleanup_descriptors_ Descriptors fds = {};
        static char buffer[PACKET_SIZE_MAX];
        _cleanup_json_ json_object *o = NULL;
        int ends[2], n, r;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        vfio_files_to_descriptors(files, &fds);
        assert_int_equal(packet_send(ends[0], list, &fds), 0);
        fds.n = 0;
        n = packet_receive(ends[1], buffer, &fds);
        assert_true(n > 0);
        o = json_tokener_parse(list);
        r = vfio_files_from_json(o, &fds, ret);
        (void)close(ends[0]);
        (void)close(ends[1]);
        return r;
}

static void test_files_travel_with_their_roles(void **state) {
        VfioFiles files = VFIO_FILES_NULL, received = VFIO_FILES_NULL;
        _cleanup_json_ json_object *list = NULL;
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(vfio_files_add(&files, FILE_IOMMUFD, NULL, ends[0]), 0);
        assert_int_equal(vfio_files_add(&files, FILE_CDEV, NIC, ends[1]), 0);
        list = vfio_files_to_json(&files);
        assert_string_equal(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN),
                            "[{\"role\":\"iommufd\"},{\"role\":\"cdev\",\"device\":\"" NIC "\"}]");
        assert_int_equal(pass_on(&files,
                                 json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN),
                                 &received),
                         0);
        assert_int_equal(received.n, 2);
        /* in their order: what is written to the one is read from the other */
        assert_int_equal(write(vfio_files_get(&received, FILE_CDEV, NIC), "x", 1), 1);
        assert_int_equal(read(vfio_files_get(&files, FILE_IOMMUFD, NULL), &(char){ 0 }, 1), 1);
        vfio_files_clear(&files);
        vfio_files_clear(&received);
}

static void test_lists_that_do_not_fit(void **state) {
        static const char *const lists[] = {
                "{}",
                "[]",
                "[{\"role\":\"container\"}]",
                "[{\"role\":\"container\"},{\"role\":\"group\"},{\"role\":\"group\"}]",
                "[{\"role\":\"container\"},{\"role\":\"cdev\"}]",
                "[{\"role\":\"container\"},{\"role\":\"group\",\"device\":\"" NIC "\"}]",
                "[{\"role\":\"container\"},{\"role\":\"keyboard\"}]",
                "[{\"role\":\"container\"},7]",
        };
        VfioFiles files = VFIO_FILES_NULL, received = VFIO_FILES_NULL;

        assert_int_equal(vfio_files_add(&files, FILE_CONTAINER, NULL, some_fd()), 0);
        assert_int_equal(vfio_files_add(&files, FILE_GROUP, NULL, some_fd()), 0);
        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                assert_int_equal(pass_on(&files, lists[i], &received), -EBADMSG);
                assert_int_equal(received.n, 0);
        }
        vfio_files_clear(&files);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_files_own_their_descriptors),
                cmocka_unit_test(test_no_more_than_a_packet_takes),
                cmocka_unit_test(test_files_travel_with_their_roles),
                cmocka_unit_test(test_lists_that_do_not_fit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
