/* Intrusive lists. */
#include "base/list.h"

#include "check.h"

struct item {
    int number;
    struct list link;
};

static int sum(struct list *head)
{
    int digits = 0;
    LIST_EACH(node, head)
        digits = digits * 10 + LIST_ENTRY(node, struct item, link)->number;
    return digits;
}

int main(void)
{
    struct list head;
    struct item items[4];
    list_init(&head);
    CASE("a new list is empty");
    CHECK(list_is_empty(&head));
    CHECK_INT(sum(&head), 0);
    CASE("appending keeps the order");
    for (int i = 0; i < 4; i++) {
        items[i].number = i + 1;
        list_append(&head, &items[i].link);
    }
    CHECK_INT(sum(&head), 1234);
    CASE("removing in the middle, and twice, is safe");
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    CHECK_INT(sum(&head), 134);
    CASE("a removed node can be appended again");
    list_append(&head, &items[1].link);
    CHECK_INT(sum(&head), 1342);
    CASE("the body of a loop may remove the node it is at");
    LIST_EACH(node, &head)
        if (LIST_ENTRY(node, struct item, link)->number % 2 == 0)
            list_remove(node);
    CHECK_INT(sum(&head), 13);
    LIST_EACH(node, &head)
        list_remove(node);
    CHECK(list_is_empty(&head));
    return check_done();
}
