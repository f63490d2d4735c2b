/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "executor-fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

int executor_dial(const Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        (void)strcpy(address.sun_path, host_path(&f->host, "socket"));
        for (int i = 0; i < TIMEOUT_MSEC / 10; i++) {
                if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                        return fd;
                assert_true(errno == ENOENT || errno == ECONNREFUSED);
                (void)usleep(10000);
        }
        fail_msg("the executor does not come up");
        return -1;
}

void executor_start(Fixture *f) {
        char program[256], *socket_path, *runtime;
        ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 64);

        assert_true(n > 0);
        program[n] = '\0';
        for (int i = 0; i < 3; i++)
                *strrchr(program, '/') = '\0';
        (void)strcat(program, "/daemon/executor/dmaowner-executor");
        socket_path = strdup(host_path(&f->host, "socket"));
        runtime = strdup(host_path(&f->host, "runtime"));
        assert_true(socket_path && runtime);
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0) {
                (void)setenv("CONFIGURATION_DIRECTORY", host_path(&f->host, "etc"), 1);
                (void)execl(program, program, "--socket", socket_path, "--runtime-directory",
                            runtime, "--root", f->host.root, NULL);
                _exit(127);
        }
        free(socket_path);
        free(runtime);
        f->fd = executor_dial(f);
}

void executor_stop(Fixture *f) {
        int status;

        safe_close(f->fd);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        host_remove(&f->host, "socket");
}

int executor_setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        host_init(&f->host);
        host_add_device(&f->host, DEVICE, "0x010802\n");
        host_set_group(&f->host, DEVICE, "12", "DMA\n");
        host_link(&f->host, "sys/kernel/iommu_groups/12/devices/" DEVICE, "x");
        host_set_driver(&f->host, DEVICE, "e1000e");
        host_write(&f->host, "sys/bus/pci/drivers/vfio-pci/bind", "");
        host_write(&f->host, "sys/bus/pci/drivers/e1000e/bind", "");
        host_link(&f->host, "sys/bus/pci/drivers/e1000e/module", "x/e1000e");
        host_write(&f->host, "sys/bus/pci/drivers/nvme/bind", "");
        host_link(&f->host, "sys/bus/pci/drivers/nvme/module", "x/nvme");
        host_write(&f->host, "sys/bus/pci/drivers/builtin/bind", "");
        host_write(&f->host, "proc/cpuinfo", "");
        host_write_aliases(&f->host, "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                                     "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n"
                                     "alias pci:v*d*sv*sd*bc01sc08i02* nvme\n");
        executor_start(f);
        *state = f;
        return 0;
}

int executor_teardown(void **state) {
        Fixture *f = *state;

        executor_stop(f);
        host_destroy(&f->host);
        free(f);
        return 0;
}

void put(const Fixture *f, const char *packet) {
        assert_int_equal(send(f->fd, packet, strlen(packet), MSG_NOSIGNAL), strlen(packet));
}

json_object *take(const Fixture *f) {
        static char packet[65537];
        struct pollfd p = { .fd = f->fd, .events = POLLIN };
        json_object *o;
        ssize_t n;

        assert_int_equal(poll(&p, 1, TIMEOUT_MSEC), 1);
        n = recv(f->fd, packet, sizeof(packet) - 1, 0);
        if (n <= 0)
                return NULL;
        packet[n] = '\0';
        o = json_tokener_parse(packet);
        assert_non_null(o);
        return o;
}

void assert_done(const Fixture *f, int error, const char *text_part) {
        json_object *o = take(f);
        const char *text;

        assert_non_null(o);
        text = json_get_string(o, "text");
        assert_string_equal(json_get_string(o, "event"), "done");
        if (json_object_get_int(json_object_object_get(o, "errno")) != error ||
            (text_part ? !text || !strstr(text, text_part) : !!text))
                fail_msg("%s", json_object_to_json_string(o));
        (void)json_object_put(o);
}

void assert_step(const Fixture *f, const char *packet, int error, const char *text_part) {
        put(f, packet);
        assert_done(f, error, text_part);
}

void assert_file(const Fixture *f, const char *path, const char *expected) {
        char text[256] = "";
        FILE *file = fopen(host_path(&f->host, path), "r");

        assert_non_null(file);
        (void)fread(text, 1, sizeof(text) - 1, file);
        assert_int_equal(fclose(file), 0);
        assert_string_equal(text, expected);
}
